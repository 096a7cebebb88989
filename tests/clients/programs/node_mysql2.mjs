// Node's mysql2: text and prepared statements.
import mysql from 'mysql2/promise';
import { options, scenario } from './scenario.mjs';

const rows = async (result) => (await result)[0];

await scenario({
  connect: async () => {
    const connection = await mysql.createConnection({
      ...options, dateStrings: true, supportBigNumbers: true, bigNumberStrings: true, multipleStatements: true,
    });
    connection.connection.on('error', () => {}); // being killed while idle
    return connection;
  },
  query: (connection, sql, values) => rows(connection.query(sql, values)),
  execute: (connection, sql, values) => rows(connection.execute(sql, values)),
  threadId: (connection) => connection.threadId,
  insertId: (ok) => ok.insertId,
  affected: (ok) => ok.affectedRows,
  several: async (connection, sql) => (await rows(connection.query(sql))).filter(Array.isArray),
  end: (connection) => connection.end(),
});
process.exit(0);
