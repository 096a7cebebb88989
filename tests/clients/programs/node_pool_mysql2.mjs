// What Node's mysql2 does beyond the scenario: queued commands, many parameters, streams, a pool, change user.
import mysql from 'mysql2';
import { options } from './scenario.mjs';

const facts = {};
const pool = mysql.createPool({ ...options, connectionLimit: 3 });
const promises = pool.promise();

const connection = await promises.getConnection();
const answers = [1, 2, 3, 4, 5].map((number) => connection.query(`SELECT ${number} AS n`));
facts.pipelined = (await Promise.all(answers)).map(([rows]) => Number(rows[0].n));

const rows = Array.from({ length: 3000 }, (_, number) => [`row ${number}`, number]);
facts.batch = (await connection.query('INSERT INTO things (name, negative) VALUES ?', [rows]))[0].affectedRows;

facts.streamed = 0;
const stream = connection.connection.query('SELECT name AS plain FROM things').stream({ highWaterMark: 5 });
for await (const row of stream) {
  facts.streamed += row.plain.startsWith('row ') ? 1 : 0;
}

await connection.query('SET @left = 5');
await connection.beginTransaction();
await connection.query("INSERT INTO things (name) VALUES ('undone')");
await connection.query('SELECT COUNT(*) AS in_transaction FROM things');
await connection.rollback();
await connection.changeUser({ user: options.user, password: options.password, database: options.database });
facts.after_reset = (await connection.query('SELECT @left AS l'))[0][0].l;
connection.release();
facts.rolled_back = Number((await promises.query('SELECT COUNT(*) AS plain FROM things'))[0][0].plain);

const many = await Promise.all(
  Array.from({ length: 50 }, () => promises.execute('SELECT 1 AS n, id AS plain FROM fixed WHERE id = ?', [1])));
facts.parallel = many.filter(([result]) => Number(result[0].n) === 1).length;
await promises.end();
console.log(JSON.stringify(facts));
