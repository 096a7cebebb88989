<?php
// PHP's mysqli (mysqlnd): text, prepared statements with and without buffering, multi_query, reconnect.
require 'scenario.php';
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function connect(): mysqli
{
    $connection = new mysqli(getenv('HOST'), getenv('DATABASE_USER'), getenv('PASSWORD'), getenv('DATABASE'),
        (int) getenv('PORT'));
    $connection->set_charset('utf8mb4');
    return $connection;
}

function failure(callable $action): ?array
{
    try {
        $action();
    } catch (mysqli_sql_exception $error) {
        return [$error->getCode(), $error->getSqlState()];
    }
    return null;
}

function several(mysqli $connection, string $sql): array
{
    $found = [];
    $connection->multi_query($sql);
    do {
        $result = $connection->store_result();
        if ($result) {
            $found[] = (int) $result->fetch_row()[0];
        }
    } while ($connection->more_results() && $connection->next_result());
    return $found;
}

$facts = [];
$connection = connect();
$other = connect();
[$facts['schema'], $facts['charset'], $number] =
    $connection->query('SELECT DATABASE(), @@character_set_client, CONNECTION_ID()')->fetch_row();
$facts['same_id'] = (int) $number === $connection->thread_id;

$facts['fixed'] = shown($connection->query(FIXED . '1')->fetch_row());
$statement = $connection->prepare(FIXED . '?');
$statement->execute([1]);
$facts['fixed_prepared'] = shown($statement->get_result()->fetch_row());
$statement->close();

$statement = $connection->prepare(INSERT);
$statement->execute(values());
$ids = [$statement->insert_id];
$connection->query("INSERT INTO things (name) VALUES ('second')");
$facts['insert_ids'] = [...$ids, $connection->insert_id];
$connection->query('UPDATE things SET negative = -1');
$facts['changed'] = $connection->affected_rows;
$connection->query('UPDATE things SET negative = -1');
$facts['unchanged'] = $connection->affected_rows;
$connection->query('UPDATE things SET negative = ' . NEGATIVE . ' WHERE id = 1');

$connection->begin_transaction();
$statement = $connection->prepare(MINE . '?');
$statement->execute([TEXT]);
$facts['inserted'] = shown($statement->get_result()->fetch_row());
$statement->close();
$connection->query("INSERT INTO things (name) VALUES ('undone')");
$connection->rollback();
$count = fn() => (int) $connection->query('SELECT COUNT(*) AS plain FROM things')->fetch_row()[0];
$facts['after_rollback'] = $count();
$connection->begin_transaction();
$connection->query("INSERT INTO things (name) VALUES ('third')");
$connection->commit();
$facts['after_commit'] = $count();

$facts['duplicate'] = failure(fn() => $connection->query("INSERT INTO things (name) VALUES ('third')"));
$facts['syntax'] = failure(fn() => $connection->query('SELECT FROM things'));

$long = str_repeat(bytes(), 5 * 4096);
$statement = $connection->prepare("UPDATE things SET bytes = ? WHERE name = 'third'");
$null = null;
$statement->bind_param('b', $null);
foreach (str_split($long, 1 << 20) as $part) {
    $statement->send_long_data(0, $part);
}
$statement->execute();
$found = $connection->query("SELECT bytes AS plain FROM things WHERE name = 'third'", MYSQLI_USE_RESULT)->fetch_row()[0];
$facts['long'] = [strlen($found), md5($found)];

$facts['several'] = several($connection, 'SELECT 1; SELECT 2');
$facts['procedure'] = several($connection, 'CALL two_results()');

$other->kill($connection->thread_id);
$facts['killed'] = failure(fn() => $connection->query('SELECT 1')) !== null;
$facts['again'] = (int) connect()->query('SELECT 1')->fetch_row()[0];
echo json_encode($facts);
