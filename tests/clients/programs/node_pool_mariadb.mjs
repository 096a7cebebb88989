// What Node's mariadb does beyond the scenario: pipelining, batches (COM_STMT_BULK_EXECUTE to MariaDB), streams that
// are read slowly, a pool that resets its connections.
import mariadb from 'mariadb';
import { options } from './scenario.mjs';

const facts = {};
const pool = mariadb.createPool({
  ...options, connectionLimit: 3, resetAfterUse: true, insertIdAsNumber: true, bigIntAsNumber: true,
  allowPublicKeyRetrieval: true, acquireTimeout: 30000,
});

let connection = await pool.getConnection();
// None is awaited before the next is sent.
const answers = [1, 2, 3, 4, 5].map((number) => connection.query(`SELECT ${number} AS n`));
facts.pipelined = (await Promise.all(answers)).map((rows) => Number(rows[0].n));

const rows = Array.from({ length: 3000 }, (_, number) => [`row ${number}`, number]);
// To MySQL it sends as many statements, and gives as many answers.
const oks = [await connection.batch('INSERT INTO things (name, negative) VALUES (?, ?)', rows)].flat();
facts.batch = oks.reduce((sum, ok) => sum + ok.affectedRows, 0);

facts.streamed = 0;
for await (const row of connection.queryStream('SELECT name AS plain FROM things')) {
  facts.streamed += row.plain.startsWith('row ') ? 1 : 0;
}

await connection.query('SET @left = 5');
await connection.beginTransaction();
await connection.query("INSERT INTO things (name) VALUES ('undone')");
await connection.query('SELECT COUNT(*) AS in_transaction FROM things');
await connection.rollback();
await connection.query('SET @left = 6');
await connection.reset();
facts.after_reset = (await connection.query('SELECT @left AS l'))[0].l;
await connection.release();
facts.rolled_back = Number((await pool.query('SELECT COUNT(*) AS plain FROM things'))[0].plain);

const many = await Promise.all(Array.from({ length: 50 }, () => pool.query('SELECT 1 AS n, id AS plain FROM fixed')));
facts.parallel = many.filter((result) => Number(result[0].n) === 1).length;
await pool.end();
console.log(JSON.stringify(facts));
