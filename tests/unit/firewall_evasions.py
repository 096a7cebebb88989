"""Ways around a rule, as statements: each reaches what a rule protects, or may, and is refused.

The rules: nobody reads or writes app.secrets, nobody touches app.users.password, nobody calls LOAD_FILE, nobody
deletes without WHERE, nobody writes files. ``harmless`` are statements that look alike and pass.
"""

from __future__ import annotations

from mysqlproxy.sql import catalog
from mysqlproxy.sql.catalog import Catalog, Relation, Routine, What

RULES = """
[[rule]]
name = "secrets"
action = "deny"
tables = ["app.secrets"]

[[rule]]
name = "password"
action = "deny"
columns = ["app.users.password"]

[[rule]]
name = "load-file"
action = "deny"
functions = ["load_file"]

[[rule]]
name = "whole-table"
action = "deny"
statements = ["delete", "update"]
missing = ["where"]

[[rule]]
name = "outfile"
action = "deny"
keywords = ["outfile", "dumpfile"]
"""


def _view(body: str) -> Relation:
    return Relation(What.VIEW, body)


CATALOG: Catalog = catalog.make(
    [
        *(("app", name, catalog.table()) for name in ("secrets", "users", "orders", "t")),
        ("other", "secrets", catalog.table()),
        ("app", "v_secrets", _view("select `app`.`secrets`.`id` AS `id` from `app`.`secrets`")),
        ("app", "v_nested", _view("select `x`.`id` AS `id` from `app`.`v_secrets` `x`")),
        ("other", "v_far", _view("select `v_nested`.`id` AS `id` from `app`.`v_nested`")),
        ("app", "v_users", _view("select `app`.`users`.`id` AS `id` from `app`.`users`")),
        ("app", "v_passwords", _view("select `u`.`password` AS `p` from `app`.`users` `u`")),
        ("app", "v_hidden", Relation(What.VIEW, None)),
        ("app", "v_calls", _view("select `app`.`peek`() AS `x`")),
    ],
    functions=[
        ("app", "peek", Routine("RETURN (SELECT MAX(id) FROM secrets)")),
        ("app", "peek_by_peek", Routine("BEGIN RETURN peek(); END")),
        ("app", "hidden", Routine(None)),
        ("app", "plain", Routine("RETURN 1")),
    ],
    procedures=[
        ("app", "dig", Routine("BEGIN SELECT * FROM secrets; END")),
        ("app", "digs", Routine("BEGIN CALL dig(); END")),
        ("app", "dynamic", Routine("BEGIN PREPARE s FROM @x; EXECUTE s; END")),
        ("app", "wipe", Routine("BEGIN DELETE FROM orders; END")),
        ("app", "hidden_p", Routine(None)),
        ("app", "plain_p", Routine("BEGIN SELECT 1 FROM orders; END")),
    ],
)

REFUSED: dict[str, tuple[str | bytes, ...]] = {
    "secrets": (
        "SELECT * FROM secrets",
        "select/**/*/**/from/**/secrets",
        "SELECT * FROM `secrets`",
        "SELECT * FROM SECRETS",
        "SELECT * FROM app . secrets",
        "SELECT * FROM`app`.`secrets`x",
        "SELECT * FROM .secrets",
        "SELECT a.id FROM secrets AS a",
        "SELECT 1 FROM orders, secrets",
        "SELECT 1 FROM orders STRAIGHT_JOIN secrets",
        "SELECT 1 FROM (orders, (secrets))",
        "SELECT 1 FROM { OJ orders LEFT JOIN secrets ON 1 }",
        "SELECT 1 FROM orders WHERE id IN (SELECT id FROM secrets)",
        "SELECT (SELECT MAX(id) FROM secrets)",
        "SELECT 1 UNION SELECT id FROM secrets",
        "(SELECT 1) UNION (TABLE secrets)",
        "TABLE secrets",
        "VALUES ROW((SELECT MAX(id) FROM secrets))",
        "SELECT 1 FROM orders ORDER BY (SELECT MAX(id) FROM secrets)",
        "SELECT * FROM secrets PARTITION (p0)",
        "SELECT * FROM secrets FORCE INDEX (PRIMARY)",
        "SELECT * FROM secrets FOR SYSTEM_TIME ALL",
        "SELECT * FROM secrets FOR UPDATE",
        "SELECT * FROM secrets LOCK IN SHARE MODE",
        "SELECT * FROM secrets INTO @x",
        "SELECT id FROM secrets PROCEDURE ANALYSE()",
        # code in comments
        "SELECT 1 /*! FROM secrets */",
        "SELECT 1 /*!50000 UNION SELECT id FROM secrets */",
        "SELECT 1 /*M!100000 UNION SELECT id FROM secrets */",
        "SELECT * FROM orders /*!99999 , */ /*!50000 secrets */",
        "/*!50000 SELECT */ * FROM secrets",
        "SELECT * FROM /*!50000 sec*/rets, secrets",
        "SELECT /*+ NO_ICP(x) */ * FROM secrets",
        "SELECT 1 -- \n FROM secrets",
        "SELECT 1 # \n FROM secrets",
        "SELECT 1 --1 FROM secrets",
        # names that hide names
        "WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets",
        "WITH secrets AS (SELECT 1) SELECT * FROM secrets, app.secrets",
        "WITH a AS (SELECT 1), b AS (SELECT * FROM secrets) SELECT * FROM a",
        "SELECT * FROM (WITH secrets AS (SELECT 1) SELECT 1) x, secrets",
        "SELECT * FROM orders AS secrets JOIN secrets AS orders",
        # behind views and routines
        "SELECT * FROM v_secrets",
        "SELECT id FROM v_nested",
        "SELECT * FROM other.v_far",
        "SELECT * FROM v_hidden",
        "SELECT * FROM v_calls",
        "SELECT peek()",
        "SELECT PEEK (  )",
        "SELECT `peek`()",
        "SELECT app.peek_by_peek() FROM orders",
        "SELECT hidden()",
        "SELECT not_known_anywhere(1)",
        "CALL dig()",
        "CALL app.digs",
        "CALL dynamic()",
        "CALL hidden_p()",
        "CALL unknown_p()",
        "DO peek()",
        "SET @x = (SELECT MAX(id) FROM secrets)",
        "SET @x = peek()",
        # written
        "INSERT INTO secrets VALUES (1)",
        "INSERT IGNORE secrets SET id = 1",
        "INSERT LOW_PRIORITY INTO secrets (id) VALUES (1)",
        "INSERT INTO orders SELECT * FROM secrets",
        "INSERT INTO orders (id) VALUES ((SELECT MAX(id) FROM secrets))",
        "INSERT INTO orders (id) VALUES (1) ON DUPLICATE KEY UPDATE id = (SELECT MAX(id) FROM secrets)",
        "REPLACE secrets VALUES (1)",
        "REPLACE INTO orders SELECT id FROM secrets",
        "UPDATE secrets SET id = 1 WHERE id = 2",
        "UPDATE LOW_PRIORITY secrets SET id = 1 WHERE id = 2",
        "UPDATE IGNORE secrets SET id = 1 WHERE id = 2",
        "UPDATE orders JOIN secrets USING (id) SET orders.id = 1 WHERE orders.id = 3",
        "UPDATE v_secrets SET id = 1 WHERE id = 2",
        "DELETE FROM secrets WHERE id = 1",
        "DELETE LOW_PRIORITY QUICK FROM secrets WHERE id = 1",
        "DELETE secrets FROM secrets JOIN orders WHERE orders.id = 1",
        "DELETE FROM x USING secrets AS x WHERE x.id = 1",
        "LOAD DATA INFILE 'x' INTO TABLE secrets",
        "TRUNCATE secrets",
        "DROP TABLE orders, secrets",
        "RENAME TABLE secrets TO public",
        "ALTER TABLE secrets RENAME TO public",
        "ALTER TABLE orders EXCHANGE PARTITION p WITH TABLE secrets",
        "CREATE TABLE copy LIKE secrets",
        "CREATE TABLE copy AS SELECT * FROM secrets",
        "CREATE TABLE m (id INT) ENGINE=MERGE UNION=(orders, secrets)",
        "CREATE TABLE f (id INT) ENGINE=FEDERATED CONNECTION='mysql://a@127.0.0.1/app/other_name'",
        "CREATE VIEW mine AS SELECT * FROM secrets",
        "CREATE TRIGGER x AFTER INSERT ON orders FOR EACH ROW INSERT INTO secrets VALUES (1)",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM secrets WHERE id = 1",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO EXECUTE IMMEDIATE @x",
        "CREATE FUNCTION f() RETURNS INT RETURN (SELECT MAX(id) FROM secrets)",
        "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT * FROM secrets; END",
        "HANDLER secrets OPEN AS h",
        "LOCK TABLES secrets READ",
        "CHECKSUM TABLE secrets",
        "SHOW CREATE TABLE secrets",
        "DESCRIBE secrets",
        "EXPLAIN SELECT * FROM secrets",
        "ANALYZE SELECT * FROM secrets",
        "ANALYZE FORMAT=JSON SELECT * FROM secrets",
        "SET STATEMENT max_statement_time=1 FOR SELECT * FROM secrets",
        "GRANT SELECT ON app.secrets TO eve",
        # several in one
        "SELECT 1; SELECT * FROM secrets",
        "USE app; SELECT * FROM secrets",
        "USE other; SELECT * FROM app.secrets",
        "BEGIN NOT ATOMIC SELECT * FROM secrets; END",
        "IF 1 THEN SELECT * FROM secrets; END IF",
        # prepared by name
        "PREPARE s FROM 'SELECT * FROM secrets'",
        "PREPARE s FROM 'SELECT * FROM v_nested'",
        r"PREPARE s FROM 'SELECT * FROM \`secrets\`'",
        "PREPARE s FROM @x",
        "PREPARE s FROM CONCAT('SELECT * FROM sec', 'rets')",
        "PREPARE s FROM 'SELECT * FROM ' 'secrets'",
        "PREPARE s FROM _utf8mb4'SELECT 1'",
        "EXECUTE IMMEDIATE 'SELECT * FROM secrets'",
        "EXECUTE IMMEDIATE @x",
        "EXECUTE IMMEDIATE CONCAT('SELECT * FROM sec', 'rets')",
        "EXECUTE never_prepared",
        "BEGIN NOT ATOMIC EXECUTE IMMEDIATE CONCAT('SELECT * FROM sec', 'rets'); END",
        "SELECT 1; EXECUTE IMMEDIATE 'SELECT * FROM secrets'",
        "/*!50000 PREPARE s FROM 'SELECT * FROM secrets' */",
        # what cannot be read
        b"SELECT * FROM sec\0rets",
        b"SELECT '\xff\xfe' FROM `sec\xffrets`",
        b"BINLOG 'AAAA'",
        "SELECT " + "(" * 150 + "SELECT MAX(id) FROM secrets" + ")" * 150,
        "SELECT * FROM secrets WHERE id IN (" + ",".join(f"a{n}" for n in range(9000)) + ")",
        "SELECT DATE_ADD(a, INTERVAL 1 DAY FROM secrets",
    ),
    "password": (
        "SELECT password FROM users",
        "SELECT PASSWORD FROM users",
        "SELECT `password` FROM users",
        "SELECT u.password FROM users u",
        "SELECT app.users.password FROM users",
        "SELECT pássword FROM users",
        "SELECT paſſword FROM users",
        "SELECT `paßßword` FROM users",
        "SELECT * FROM users",
        "SELECT users.* FROM users",
        "SELECT id, u.* FROM orders JOIN users u",
        "TABLE users",
        "SELECT * FROM (SELECT * FROM users) x",
        "SELECT x.a FROM (SELECT password AS a FROM users) x",
        "SELECT 1 FROM users WHERE password LIKE 'a%'",
        "SELECT 1 FROM users ORDER BY password",
        "SELECT COUNT(*) FROM users GROUP BY password",
        "SELECT 1 FROM users HAVING MAX(password) > 'a'",
        "SELECT 1 FROM users JOIN t USING (password)",
        "SELECT 1 FROM users NATURAL JOIN (SELECT 'guess' AS password) x",
        "SELECT (SELECT password FROM t LIMIT 1) FROM users",
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM users WHERE users.password = t.a)",
        "SELECT MAX(password) OVER (ORDER BY id) FROM users",
        "SELECT p FROM v_passwords",
        "SELECT 1 FROM v_passwords",
        "UPDATE users SET password = 'x' WHERE id = 1",
        "UPDATE users SET id = 1 WHERE password = 'x'",
        "INSERT INTO users (id, password) VALUES (1, 'x')",
        "INSERT INTO users VALUES (1, 'x')",
        "INSERT INTO users SET password = 'x'",
        "INSERT INTO users (id) VALUES (1) ON DUPLICATE KEY UPDATE password = 'x'",
        "INSERT INTO users (id) VALUES (1) ON DUPLICATE KEY UPDATE id = LENGTH(VALUES(password))",
        "INSERT INTO users (id) VALUES (1) RETURNING password",
        "INSERT INTO users (id) VALUES (1) RETURNING *",
        "REPLACE users VALUES (1, 'x')",
        "DELETE FROM users WHERE id = 1",
        "LOAD DATA INFILE 'x' INTO TABLE users (id)",
        "SHOW COLUMNS FROM users",
        "SELECT id, /*!50000 password, */ 1 FROM users",
    ),
    "load-file": (
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT Load_File ('/etc/passwd')",
        "SELECT load_file/**/('/etc/passwd')",
        "SELECT 1 FROM orders WHERE id = HEX(LOAD_FILE(CHAR(47)))",
        "DO LOAD_FILE('/etc/passwd')",
        "SET @x = LOAD_FILE('/etc/passwd')",
        "INSERT INTO orders (a) VALUES (LOAD_FILE('/etc/passwd'))",
        "SELECT 1 /*!50000 + LOAD_FILE('/etc/passwd') */",
        "EXECUTE IMMEDIATE 'SELECT LOAD_FILE(''/etc/passwd'')'",
        "CREATE TABLE x AS SELECT LOAD_FILE('/etc/passwd')",
    ),
    "whole-table": (
        "DELETE FROM orders",
        "DELETE /* WHERE id = 1 */ FROM orders",
        "DELETE FROM orders -- WHERE id = 1",
        "DELETE FROM orders LIMIT 5",
        "DELETE FROM orders WHERE 1",
        "DELETE FROM orders WHERE TRUE OR FALSE",
        "DELETE FROM orders WHERE 'a' = 'a'",
        "DELETE FROM orders ORDER BY (SELECT MAX(id) FROM t WHERE id = 1)",
        "DELETE o FROM orders o JOIN t ON o.id = t.id",
        "UPDATE orders SET a = 1",
        "UPDATE orders SET a = (SELECT 1 FROM t WHERE id = 1)",
        "WITH x AS (SELECT 1 FROM t WHERE id = 1) UPDATE orders SET a = 1",
        "WITH x AS (SELECT 1 FROM t WHERE id = 1) DELETE FROM orders",
        "ANALYZE DELETE FROM orders",
        "SET STATEMENT max_statement_time=1 FOR DELETE FROM orders",
        "BEGIN NOT ATOMIC DELETE FROM orders; END",
        "CALL wipe()",
        "/*!50000 DELETE FROM orders */",
        "DELETE FROM orders /*!99999 WHERE id = 1 */",
        "SELECT 1; DELETE FROM orders; SELECT 2",
    ),
    "outfile": (
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT 1 INTO/**/DUMPFILE '/tmp/x'",
        "SELECT a INTO OUTFILE '/tmp/x' FROM orders",
        "SELECT 1 /*!INTO OUTFILE '/tmp/x'*/",
        "(SELECT 1) UNION (SELECT 2) INTO OUTFILE '/tmp/x'",
    ),
}

PASSES = (
    "SELECT 1",
    "SELECT 'secrets'",
    "SELECT id AS secrets FROM orders",
    "SELECT secrets FROM orders",
    "SELECT secrets.id FROM orders AS secrets",
    "SELECT * FROM orders /* secrets */",
    "SELECT * FROM orders -- secrets",
    "SELECT * FROM other.secrets",
    "USE other; SELECT * FROM secrets",
    "WITH secrets AS (SELECT 1) SELECT * FROM secrets",
    "SELECT id FROM v_users",
    "SELECT id FROM users",
    "SELECT COUNT(*) FROM users WHERE id = ?",
    "SELECT users.id, t.password FROM users JOIN t ON t.id = users.id",
    "SELECT plain()",
    "CALL plain_p()",
    "INSERT INTO users (id) VALUES (1)",
    "UPDATE users SET id = 2 WHERE id = 1",
    "DELETE FROM orders WHERE id = ?",
    "DELETE o FROM orders o JOIN t ON o.id = t.id WHERE t.id = 1",
    "SET NAMES utf8mb4",
    "SET @x = 1",
    "BEGIN",
    "COMMIT",
    "SHOW TABLES",
    "SHOW VARIABLES LIKE 'secrets'",
    "PREPARE s FROM 'SELECT * FROM orders WHERE id = ?'",
    "EXECUTE IMMEDIATE 'SELECT 1'",
    "DEALLOCATE PREPARE s",
    "CREATE TABLE x (id INT)",
    "GRANT EXECUTE ON app.* TO eve",
    "/*!40101 SET NAMES utf8 */",
    "SELECT /*+ NO_ICP(t) */ id FROM t",
    "SELECT load_file FROM orders",
)
