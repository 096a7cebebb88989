// The scenario of tests/clients/scenario.py for a driver of Node, in terms of a few functions:
//   connect() -> connection                       autocommit on
//   query(connection, sql, values) -> rows or the driver's OK; execute: the same, prepared on the server
//   threadId(connection), insertId(ok), affected(ok), several(connection, sql) -> rows of each result
//   end(connection)
// Prints what it saw as one JSON object.
import { createHash } from 'node:crypto';
import { env } from 'node:process';

export const options = {
  host: env.HOST,
  port: Number(env.PORT),
  user: env.DATABASE_USER,
  password: env.PASSWORD,
  database: env.DATABASE,
};

const BYTES = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const TEXT = 'naïve 日本 🦆';
const COLUMNS = 'name, bytes, nothing, day, moment, price, big, negative';
const NEGATIVE = '-9223372036854775808';

const shown = (row) => [
  row.name,
  row.bytes.toString('hex'),
  ...['nothing', 'day', 'moment', 'price', 'big', 'negative'].map((name) =>
    row[name] === null ? null : String(row[name])),
];
const one = (rows) => rows[0];

export async function scenario({ connect, query, execute, threadId, insertId, affected, several, end }) {
  const facts = {};
  const connection = await connect();
  const other = await connect();
  const failure = async (action) => {
    try {
      await action();
    } catch (error) {
      return [error.errno ?? error.code, error.sqlState ?? null];
    }
    return null;
  };

  const first = one(await query(connection,
    'SELECT DATABASE() AS s, @@character_set_client AS c, CONNECTION_ID() AS n'));
  facts.schema = first.s;
  facts.charset = first.c;
  facts.same_id = Number(first.n) === threadId(connection);

  const fixed = `SELECT ${COLUMNS}, 1 AS plain FROM fixed WHERE id = ?`;
  facts.fixed = shown(one(await query(connection, fixed, [1])));
  if (execute) facts.fixed_prepared = shown(one(await execute(connection, fixed, [1])));

  const write = execute ?? query;
  const marks = Array(8).fill('?').join(', ');
  const values = [TEXT, BYTES, null, '2024-02-29', '2024-02-29 23:59:59.123456', '12345678901234.567890',
    '18446744073709551615', NEGATIVE];
  const ids = [insertId(await write(connection, `INSERT INTO things (${COLUMNS}) VALUES (${marks})`, values))];
  ids.push(insertId(await query(connection, 'INSERT INTO things (name) VALUES (?)', ['second'])));
  facts.insert_ids = ids.map(Number);
  facts.changed = affected(await query(connection, 'UPDATE things SET negative = -1'));
  facts.unchanged = affected(await query(connection, 'UPDATE things SET negative = -1'));
  await write(connection, 'UPDATE things SET negative = ? WHERE id = 1', [NEGATIVE]);

  await query(connection, 'START TRANSACTION');
  facts.inserted = shown(one(await query(connection,
    `SELECT ${COLUMNS}, 1 AS in_transaction FROM things WHERE name = ?`, [TEXT])));
  await query(connection, "INSERT INTO things (name) VALUES ('undone')");
  await query(connection, 'ROLLBACK');
  const count = async () => Number(one(await query(connection, 'SELECT COUNT(*) AS plain FROM things')).plain);
  facts.after_rollback = await count();
  await query(connection, 'START TRANSACTION');
  await query(connection, "INSERT INTO things (name) VALUES ('third')");
  await query(connection, 'COMMIT');
  facts.after_commit = await count();

  facts.duplicate = await failure(() => query(connection, "INSERT INTO things (name) VALUES ('third')"));
  facts.syntax = await failure(() => query(connection, 'SELECT FROM things'));

  const long = Buffer.concat(Array(5 * 4096).fill(BYTES));
  await write(connection, "UPDATE things SET bytes = ? WHERE name = 'third'", [long]);
  const found = one(await query(connection, "SELECT bytes AS plain FROM things WHERE name = 'third'")).plain;
  facts.long = [found.length, createHash('md5').update(found).digest('hex')];

  facts.several = (await several(connection, 'SELECT 1 AS n; SELECT 2 AS n')).map((rows) => Number(rows[0].n));
  facts.procedure = (await several(connection, 'CALL two_results()'))
    .map((rows) => Number(rows[0].one ?? rows[0].two));

  await query(other, `KILL ${threadId(connection)}`);
  facts.killed = (await failure(() => query(connection, 'SELECT 1'))) !== null;
  const anew = await connect();
  facts.again = Number(one(await query(anew, 'SELECT 1 AS again')).again);
  await end(anew);
  await end(other);
  console.log(JSON.stringify(facts));
}
