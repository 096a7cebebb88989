<?php
// PHP's PDO: statements emulated by the driver and prepared on the server, persistent connections.
require 'scenario.php';

function connect(array $options = []): PDO
{
    $place = sprintf('mysql:host=%s;port=%s;dbname=%s;charset=utf8mb4', getenv('HOST'), getenv('PORT'), getenv('DATABASE'));
    return new PDO($place, getenv('DATABASE_USER'), getenv('PASSWORD'), $options + [PDO::ATTR_PERSISTENT => true]);
}

function failure(callable $action): ?array
{
    try {
        $action();
    } catch (PDOException $error) {
        return [$error->errorInfo[1], $error->errorInfo[0]];
    }
    return null;
}

function several(PDO $connection, string $sql): array
{
    $found = [];
    $result = $connection->query($sql);
    do {
        if ($result->columnCount()) {
            $found[] = (int) $result->fetchAll(PDO::FETCH_NUM)[0][0];
        }
    } while ($result->nextRowset());
    return $found;
}

function ask(PDO $connection, string $sql, array $values = []): array
{
    $statement = $connection->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll(PDO::FETCH_NUM)[0];
}

$facts = [];
$connection = connect();
$other = connect([PDO::ATTR_PERSISTENT => false]);
[$facts['schema'], $facts['charset'], $number] =
    ask($connection, 'SELECT DATABASE(), @@character_set_client, CONNECTION_ID()');
$facts['same_id'] = $number >= 2 ** 31; // PDO does not show the greeting's

$facts['fixed'] = shown(ask($connection, FIXED . '?', [1]));
$connection->setAttribute(PDO::ATTR_EMULATE_PREPARES, false);
$facts['fixed_prepared'] = shown(ask($connection, FIXED . '?', [1]));

$connection->prepare(INSERT)->execute(values());
$ids = [$connection->lastInsertId()];
$connection->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
$connection->exec("INSERT INTO things (name) VALUES ('second')");
$facts['insert_ids'] = array_map('intval', [...$ids, $connection->lastInsertId()]);
$facts['changed'] = $connection->exec('UPDATE things SET negative = -1');
$facts['unchanged'] = $connection->exec('UPDATE things SET negative = -1');
$connection->exec('UPDATE things SET negative = ' . NEGATIVE . ' WHERE id = 1');

$connection->beginTransaction();
$facts['inserted'] = shown(ask($connection, MINE . '?', [TEXT]));
$connection->exec("INSERT INTO things (name) VALUES ('undone')");
$connection->rollBack();
$count = fn() => (int) ask($connection, 'SELECT COUNT(*) AS plain FROM things')[0];
$facts['after_rollback'] = $count();
$connection->beginTransaction();
$connection->exec("INSERT INTO things (name) VALUES ('third')");
$connection->commit();
$facts['after_commit'] = $count();

$facts['duplicate'] = failure(fn() => $connection->exec("INSERT INTO things (name) VALUES ('third')"));
$facts['syntax'] = failure(fn() => $connection->query('SELECT FROM things'));

$long = str_repeat(bytes(), 5 * 4096);
$connection->prepare("UPDATE things SET bytes = ? WHERE name = 'third'")->execute([$long]);
$found = ask($connection, "SELECT bytes AS plain FROM things WHERE name = 'third'")[0];
$facts['long'] = [strlen($found), md5($found)];

$facts['several'] = several($connection, 'SELECT 1; SELECT 2');
$facts['procedure'] = several($connection, 'CALL two_results()');

$other->exec("KILL $number");
error_reporting(E_ERROR); // the driver warns that the server has gone away
$facts['killed'] = failure(fn() => $connection->query('SELECT 1')) !== null;
$connection = null;
$facts['again'] = (int) ask(connect(), 'SELECT 1')[0];
echo json_encode($facts);
