<?php
// What both PHP programs share: the scenario's values, and how a row is shown.
const COLUMNS = 'name, bytes, nothing, day, moment, price, big, negative';
const FIXED = 'SELECT ' . COLUMNS . ', 1 AS plain FROM fixed WHERE id = ';
const MINE = 'SELECT ' . COLUMNS . ', 1 AS in_transaction FROM things WHERE name = ';
const INSERT = 'INSERT INTO things (' . COLUMNS . ') VALUES (?, ?, ?, ?, ?, ?, ?, ?)';
const TEXT = 'naïve 日本 🦆';
const NEGATIVE = '-9223372036854775808';

function bytes(): string
{
    return implode('', array_map('chr', range(0, 255)));
}

function values(): array
{
    return [TEXT, bytes(), null, '2024-02-29', '2024-02-29 23:59:59.123456', '12345678901234.567890',
        '18446744073709551615', NEGATIVE];
}

function shown(array $row): array
{
    $row = array_slice(array_values($row), 0, 8);
    $row[1] = bin2hex($row[1]);
    return array_map(fn($value) => $value === null ? null : (string) $value, $row);
}
