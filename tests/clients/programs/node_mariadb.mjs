// Node's mariadb, as it comes: pipelining on, permitLocalInfile off, compression off.
import mariadb from 'mariadb';
import { options, scenario } from './scenario.mjs';

await scenario({
  connect: async () => {
    const connection = await mariadb.createConnection({
      ...options, dateStrings: true, bigIntAsNumber: false, multipleStatements: true, bulk: true,
      checkDuplicate: false, insertIdAsNumber: true, allowPublicKeyRetrieval: true,
    });
    connection.on('error', () => {}); // being killed while idle
    return connection;
  },
  query: (connection, sql, values) => connection.query(sql, values),
  execute: (connection, sql, values) => connection.execute(sql, values),
  threadId: (connection) => connection.threadId,
  insertId: (ok) => ok.insertId,
  affected: (ok) => ok.affectedRows,
  several: async (connection, sql) => (await connection.query(sql)).filter(Array.isArray),
  end: (connection) => connection.end(),
});
process.exit(0);
