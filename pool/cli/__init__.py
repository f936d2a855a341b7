"""The command line: `linkpool`, which is `main` of pool/cli/main.py."""
