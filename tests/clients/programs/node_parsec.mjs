// Node's mariadb logs in by parsec: the account may do nothing else. Prints who it is, and what a wrong password gets.
import mariadb from 'mariadb';
import { options } from './scenario.mjs';

const connection = await mariadb.createConnection(options);
const [row] = await connection.query('SELECT CURRENT_USER() AS who');
await connection.end();
let wrong = null;
try {
  await mariadb.createConnection({ ...options, password: 'wrong' });
} catch (error) {
  wrong = error.errno;
}
console.log(JSON.stringify({ who: row.who, wrong }));
process.exit(0);
