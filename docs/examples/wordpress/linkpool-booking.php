<?php
/**
 * Plugin Name: linkpool booking
 * Description: [linkpool meeting="SID"] shows each visitor a booking link of their own.
 * Version: 0.1.0
 * Requires PHP: 8.0
 *
 * Put this file into wp-content/plugins, and into wp-config.php:
 *   define('LINKPOOL_URL', 'https://links.example.com');
 *   define('LINKPOOL_KEY', 'lp_…');  // a key of the scope claim, for this meeting alone
 *
 * Pages with the shortcode are marked as not cacheable. Where your cache keeps them all the same,
 * use linkpool's tag instead.
 */

declare(strict_types=1);

if (!defined('ABSPATH')) {
    exit;
}

add_action('init', 'linkpool_remember_visitor');
add_shortcode('linkpool', 'linkpool_shortcode');

/** Give a visitor who is not logged in an id that nobody can guess, before anything is sent. */
function linkpool_remember_visitor(): void
{
    if (is_user_logged_in() || linkpool_known_visitor() !== null || headers_sent()) {
        return;
    }
    $_COOKIE['linkpool_visitor'] = wp_generate_uuid4();
    setcookie('linkpool_visitor', $_COOKIE['linkpool_visitor'], [
        'expires' => time() + 30 * DAY_IN_SECONDS,
        'path' => COOKIEPATH ?: '/',
        'secure' => is_ssl(),
        'httponly' => true,
        'samesite' => 'Lax',
    ]);
}

/** Return the id of the visitor's cookie if it is one of ours. */
function linkpool_known_visitor(): ?string
{
    $cookie = $_COOKIE['linkpool_visitor'] ?? '';
    return is_string($cookie) && wp_is_uuid($cookie, 4) ? $cookie : null;
}

/** Return what the page shows in the place of [linkpool meeting="SID"]. */
function linkpool_shortcode($attributes): string
{
    $meeting = shortcode_atts(['meeting' => 'demo'], $attributes, 'linkpool')['meeting'];
    $customer_id = is_user_logged_in() ? 'user-' . get_current_user_id() : null;
    $customer_id ??= linkpool_known_visitor() ? 'visitor-' . linkpool_known_visitor() : null;
    if (!defined('DONOTCACHEPAGE')) {
        define('DONOTCACHEPAGE', true); // nobody else may see this visitor's link
    }
    $url = LINKPOOL_URL . '/v1/meetings/' . rawurlencode($meeting) . '/claims?embed=inline';
    $response = $customer_id === null ? null : wp_remote_post($url, [
        'headers' => ['Content-Type' => 'application/json', 'X-API-Key' => LINKPOOL_KEY],
        'body' => wp_json_encode(['customer_id' => $customer_id]),
        'timeout' => 3,
        'redirection' => 0, // no other server gets the key
    ]);
    $status = $response === null || is_wp_error($response) ? 0 : wp_remote_retrieve_response_code($response);
    $answer = $status === 0 ? null : json_decode(wp_remote_retrieve_body($response), true);
    if (($status === 200 || $status === 201) && isset($answer['embed_html'])) {
        return $answer['embed_html'];
    }
    if (isset($answer['fallback_url'])) {
        return sprintf('<a href="%s">Book a time</a>', esc_url($answer['fallback_url']));
    }
    error_log("no link for a visitor: $status " . ($answer['detail'] ?? ''));
    return '<p>Booking is not available right now. Please try again in a few minutes.</p>';
}
