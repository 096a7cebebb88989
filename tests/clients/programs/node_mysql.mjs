// Node's mysql, the old one: knows mysql_native_password only, and no prepared statements.
import mysql from 'mysql';
import { promisify } from 'node:util';
import { options, scenario } from './scenario.mjs';

const query = (connection, sql, values) => promisify(connection.query.bind(connection))(sql, values);

await scenario({
  connect: async () => {
    const connection = mysql.createConnection({
      ...options, charset: 'utf8mb4', dateStrings: true, supportBigNumbers: true, bigNumberStrings: true,
      multipleStatements: true,
    });
    connection.on('error', () => {}); // being killed while idle
    await promisify(connection.connect.bind(connection))();
    return connection;
  },
  query,
  threadId: (connection) => connection.threadId,
  insertId: (ok) => ok.insertId,
  affected: (ok) => ok.affectedRows,
  several: async (connection, sql) => (await query(connection, sql)).filter(Array.isArray),
  end: (connection) => promisify(connection.end.bind(connection))(),
});
process.exit(0);
