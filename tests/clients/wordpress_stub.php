<?php
// Just as much of WordPress as the plugin in docs/examples/wordpress calls: it loads the plugin
// named by PLUGIN, runs its init action, and shows its shortcode.

declare(strict_types=1);

ini_set('display_errors', '0');
const ABSPATH = __DIR__;
const DAY_IN_SECONDS = 86400;
const COOKIEPATH = '/';
define('LINKPOOL_URL', getenv('LINKPOOL_URL'));
define('LINKPOOL_KEY', getenv('LINKPOOL_KEY'));
$hooks = [];

function add_action(string $name, callable $do): void
{
    $GLOBALS['hooks'][$name][] = $do;
}

function add_shortcode(string $name, callable $do): void
{
    $GLOBALS['hooks']["[$name]"][] = $do;
}

function shortcode_atts(array $defaults, $given, string $name): array
{
    return array_intersect_key((array) $given, $defaults) + $defaults;
}

function is_user_logged_in(): bool
{
    return isset($_GET['user']);
}

function get_current_user_id(): int
{
    return (int) ($_GET['user'] ?? 0);
}

function is_ssl(): bool
{
    return false;
}


function wp_generate_uuid4(): string
{
    $parts = str_split(bin2hex(random_bytes(16)), 4);
    $parts[3] = '4' . substr($parts[3], 1);
    $parts[4] = '8' . substr($parts[4], 1);
    return vsprintf('%s%s-%s-%s-%s-%s%s%s', $parts);
}

function wp_is_uuid($uuid, int $version): bool
{
    return preg_match('/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/', $uuid) === 1;
}

function wp_unique_id(string $prefix): string
{
    static $number = 0;
    return $prefix . ++$number;
}

function wp_json_encode($value, int $flags = 0): string
{
    return json_encode($value, $flags);
}

function esc_url(string $url): string
{
    return preg_match('~^https?://~', $url) ? htmlspecialchars($url) : '';
}

class WP_Error
{
}

function is_wp_error($thing): bool
{
    return $thing instanceof WP_Error;
}

function wp_remote_post(string $url, array $given)
{
    $headers = array_map(fn($name, $value) => "$name: $value", array_keys($given['headers']), $given['headers']);
    $request = ['method' => 'POST', 'header' => $headers, 'content' => $given['body'],
        'timeout' => $given['timeout'], 'ignore_errors' => true, 'follow_location' => $given['redirection']];
    $body = @file_get_contents($url, false, stream_context_create(['http' => $request]));
    if ($body === false) {
        return new WP_Error();
    }
    return ['body' => $body, 'response' => ['code' => (int) explode(' ', $http_response_header[0])[1]]];
}

function wp_remote_retrieve_body(array $response): string
{
    return $response['body'];
}

function wp_remote_retrieve_response_code(array $response): int
{
    return $response['response']['code'];
}

require getenv('PLUGIN');
array_map(fn($do) => $do(), $hooks['init']);
$shown = $hooks['[linkpool]'][0](['meeting' => getenv('LINKPOOL_MEETING')]);
echo '<!doctype html><title>A page of WordPress</title>', $shown;
