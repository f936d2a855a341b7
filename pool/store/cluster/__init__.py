"""Reach the pools on a Redis Cluster, where each meeting's keys lie on one of several masters."""
