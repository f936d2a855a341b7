<?php
// A booking page in plain PHP 8, without any library.
//
//   LINKPOOL_URL=… LINKPOOL_KEY=… php -S 127.0.0.1:8080 booking.php

declare(strict_types=1);

ini_set('display_errors', '0');
session_start(['use_strict_mode' => true, 'cookie_httponly' => true, 'cookie_samesite' => 'Lax']);
// Use your own id where you have one: the user's, the order's, the lead's.
$_SESSION['visitor'] ??= bin2hex(random_bytes(16));
[$status, $answer] = claim(getenv('LINKPOOL_MEETING') ?: 'demo', 'visitor-' . $_SESSION['visitor']);

header('Cache-Control: no-store'); // nobody else may see this visitor's link
echo '<!doctype html><meta charset="utf-8"><title>Book a call</title><h1>Book a call</h1>';
if (($status === 200 || $status === 201) && isset($answer['embed_html'])) {
    echo $answer['embed_html'];
} elseif (isset($answer['fallback_url'])) {
    printf('<a href="%s">Book a time</a>', htmlspecialchars($answer['fallback_url']));
} else {
    error_log("no link for a visitor: $status " . ($answer['detail'] ?? ''));
    echo '<p>Booking is not available right now. Please try again in a few minutes.</p>';
}

/** Return the status of a claim, 0 if no linkpool answers, and its body. */
function claim(string $meeting, string $customer_id): array
{
    $request = [
        'method' => 'POST',
        'header' => ['Content-Type: application/json', 'X-API-Key: ' . getenv('LINKPOOL_KEY')],
        'content' => json_encode(['customer_id' => $customer_id]),
        'timeout' => 3,
        'ignore_errors' => true, // a refusal has a body, too
        'follow_location' => 0, // no other server gets the key
    ];
    $url = getenv('LINKPOOL_URL') . '/v1/meetings/' . rawurlencode($meeting) . '/claims?embed=inline';
    $body = @file_get_contents($url, false, stream_context_create(['http' => $request]));
    preg_match('~^HTTP/\S+ (\d+)~', $http_response_header[0] ?? '', $found);
    $answer = json_decode((string) $body, true);
    return is_array($answer) ? [(int) ($found[1] ?? 0), $answer] : [0, []];
}
