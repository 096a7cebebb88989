"""What a statement is: the specification, as statements with their verdicts. ``test_verdicts.py`` checks
every line; ``test_plain_reads_leave_no_trace.py`` asks real servers about the plain reads.

The tables that appear: t (id, a, b, c, g, j), u (id, t_id, a), v (a view), s (a sequence), f (a stored
function).
"""

from __future__ import annotations

from dataclasses import dataclass

from mysqlproxy.sql.verdict import Effect, Kind, Needs, SqlContext

E = Effect
MARIADB = SqlContext()
MYSQL = SqlContext(mariadb=False, version=(9, 7, 4))
ANSI = SqlContext(ansi_quotes=True)
NO_BACKSLASH = SqlContext(no_backslash_escapes=True)
IGNORE_SPACE = SqlContext(ignore_space=True)
ORACLE = SqlContext(oracle=True)
GBK = SqlContext(charset="gbk")
LATIN1 = SqlContext(charset="latin1")
IN_INFORMATION_SCHEMA = SqlContext(schema="information_schema")
IN_MYSQL = SqlContext(schema="mysql")


@dataclass(frozen=True)
class Case:
    sql: str | bytes
    kind: Kind
    reason: str
    effects: int
    needs: Needs
    under: SqlContext

    @property
    def text(self) -> bytes:
        return self.sql if isinstance(self.sql, bytes) else self.sql.encode()


def read(*statements: str | bytes, effects: int = E.NONE, under: SqlContext = MARIADB) -> list[Case]:
    return [Case(sql, Kind.READ, "", effects, Needs.ANY, under) for sql in statements]


def write(
    reason: str, *statements: str | bytes, effects: int = E.NONE, under: SqlContext = MARIADB
) -> list[Case]:
    return [Case(sql, Kind.WRITE, reason, effects, Needs.ANY, under) for sql in statements]


def other(
    reason: str,
    *statements: str | bytes,
    effects: int = E.NONE,
    needs: Needs = Needs.ANY,
    under: SqlContext = MARIADB,
) -> list[Case]:
    return [Case(sql, Kind.OTHER, reason, effects, needs, under) for sql in statements]


ANYTHING = E.UNTRACKED | E.DDL | E.INSERT

PLAIN_READS = [
    *read("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1", effects=E.FOUND_ROWS),
    *read(
        "SELECT 1",
        "select 1;",
        "SELECT 1 ; ; ",
        "SELECT 1; SELECT a FROM t",
        "SELECT 'a' 'b', N'a', _utf8mb4'a', x'41', X'41', 0x41, b'1', .5, 1e3, 1.5e-3, -1, NULL, TRUE",
        "SELECT a, t.b, app.t.c FROM t",
        "SELECT * FROM app.t AS x WHERE x.id = 1",
        "SELECT `a`, `t`.`b` FROM `app`.`t` WHERE `id` IN (1, 2, 3)",
        "SELECT a AS 'name', b 'other name', c \"third\" FROM t",
        "SELECT * FROM t WHERE a = 'it''s' AND b = 'it\\'s' AND c = \"x\"\"y\"",
        "SELECT COUNT(*), COUNT(DISTINCT a), SUM(b), AVG(b), MIN(a), MAX(a) FROM t GROUP BY c HAVING COUNT(*) > 1",
        "SELECT a, SUM(b) FROM t GROUP BY a WITH ROLLUP",
        "SELECT GROUP_CONCAT(DISTINCT a ORDER BY a DESC SEPARATOR '; ') FROM t",
        "SELECT a FROM t ORDER BY a DESC, b LIMIT 10 OFFSET 5",
        "SELECT a FROM t LIMIT 5, 10",
        "SELECT DISTINCT a FROM t",
        "SELECT SQL_NO_CACHE a FROM t",
        "SELECT HIGH_PRIORITY STRAIGHT_JOIN t.a FROM t JOIN u ON t.id = u.t_id",
        "SELECT t.a, u.a FROM t LEFT JOIN u ON u.t_id = t.id WHERE u.id IS NULL",
        "SELECT * FROM t NATURAL JOIN u",
        "SELECT * FROM t JOIN u USING (id) CROSS JOIN t AS w",
        "SELECT * FROM t, u WHERE t.id = u.t_id",
        "SELECT * FROM (t, u) WHERE t.id = u.t_id",
        "SELECT * FROM t FORCE INDEX (PRIMARY) WHERE id > 0",
        "SELECT * FROM t USE INDEX () WHERE id = 1",
        "SELECT (SELECT MAX(a) FROM u WHERE u.t_id = t.id) FROM t",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)",
        "SELECT a FROM t WHERE id IN (SELECT t_id FROM u) AND a > ALL (SELECT a FROM u)",
        "SELECT x.n FROM (SELECT COUNT(*) AS n FROM t) AS x",
        "SELECT CASE a WHEN 1 THEN 'one' ELSE 'more' END, CASE WHEN a > 1 THEN 1 END FROM t",
        "SELECT IF(a, b, c), IFNULL(a, 0), NULLIF(a, b), COALESCE(a, b), GREATEST(a, b) FROM t",
        "SELECT a DIV 2, a MOD 2, a % 2, a XOR b, NOT a, !a, ~a, a ^ b, a << 1, a <=> b FROM t",
        "SELECT a BETWEEN 1 AND 2, a LIKE 'x%' ESCAPE '|', a REGEXP '^x', a RLIKE 'x', a IS NOT NULL FROM t",
        "SELECT (a, b) = (1, 2), ROW(a, b) = ROW(1, 2), (a, b) IN ((1, 2), (3, 4)) FROM t",
        "SELECT CAST(a AS CHAR(10)), CAST(a AS DECIMAL(10, 2)), CONVERT(a, SIGNED), CONVERT(c USING latin1) FROM t",
        "SELECT c COLLATE utf8mb4_bin, BINARY c FROM t",
        "SELECT NOW(), CURDATE(), CURRENT_TIMESTAMP, UTC_TIMESTAMP(), NOW(6), UNIX_TIMESTAMP()",
        "SELECT DATE_ADD(NOW(), INTERVAL 1 DAY), NOW() - INTERVAL 1 HOUR, DATE '2024-01-01'",
        "SELECT EXTRACT(YEAR FROM NOW()), TRIM(LEADING 'x' FROM 'xa'), SUBSTRING('abc' FROM 2 FOR 1)",
        "SELECT POSITION('b' IN 'abc')",
        "SELECT DATE_FORMAT(NOW(), '%Y-%m-%d'), STR_TO_DATE('2024', '%Y'), TIMESTAMPDIFF(SECOND, NOW(), NOW())",
        "SELECT CONCAT('a', 'b'), UPPER('a'), LENGTH('a'), SHA2('a', 256), HEX('a'), REPLACE('a', 'a', 'b')",
        "SELECT UUID(), RAND(), SLEEP(0), BENCHMARK(1, 1)",
        "SELECT DATABASE(), SCHEMA()",
        "SELECT JSON_EXTRACT(j, '$.a'), JSON_UNQUOTE(JSON_EXTRACT(j, '$.b')) FROM t",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b), SUM(b) OVER w FROM t WINDOW w AS (ORDER BY id)",
        "SELECT SUM(b) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM t",
        "SELECT * FROM JSON_TABLE('[1]', '$[*]' COLUMNS (n INT PATH '$')) AS j",
        "SELECT a FROM t UNION SELECT a FROM u",
        "SELECT a FROM t UNION ALL SELECT a FROM u ORDER BY a LIMIT 3",
        "(SELECT a FROM t LIMIT 1) UNION (SELECT a FROM u LIMIT 1)",
        "SELECT a FROM t EXCEPT SELECT a FROM u",
        "SELECT a FROM t INTERSECT SELECT a FROM u",
        "(SELECT 1)",
        "((SELECT 1))",
        "VALUES (1, 2), (3, 4)",
        "WITH x AS (SELECT a FROM t) SELECT * FROM x",
        "WITH x (n) AS (SELECT a FROM t), y (m) AS (SELECT n FROM x) SELECT m FROM y",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
        "SELECT a FROM t -- the end",
        "SELECT a # a comment\nFROM t",
        "-- a comment\nSELECT a FROM t",
        "/* app:web */ SELECT /* in between */ a FROM t /* and after */",
        "SELECT a FROM t /* ; DELETE FROM t */",
        "SELECT ';', ' FOR UPDATE', ' INTO OUTFILE ', '@x', 'GET_LOCK(1)' FROM t",
        "SELECT 1 --1",
        "SELECT 5--3",
        "SELECT 1 -- \n + 1",
        "\tSELECT\n\n a\r\nFROM\v t ",
        "SELECT `into`, `for update` FROM (SELECT 1 AS `into`, 2 AS `for update`) AS x",
        "SELECT x.into FROM (SELECT 1 AS `into`) AS x",
        "SELECT ABS (-1), LOWER ('A')",
        "SELECT id FROM t WHERE c = 'grün' AND a = 1",
        "SELECT id AS größe FROM t",
        "SELECT 1 FROM DUAL",
        "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()",
        "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't'",
        "SELECT CONNECTION_ID()",
        "SELECT CONNECTION_ID() + 1 AS n, a FROM t",
        "SELECT @@pseudo_thread_id",
        "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t",
        "SHOW TABLES",
        "SHOW FULL TABLES FROM app LIKE 't%'",
        "SHOW COLUMNS FROM t",
        "SHOW FULL COLUMNS FROM t FROM app",
        "SHOW FIELDS IN `app`.`t`",
        "SHOW DATABASES",
        "SHOW SCHEMAS LIKE 'a%'",
        "SHOW CHARACTER SET",
        "SHOW COLLATION LIKE 'utf8mb4%'",
        "DESCRIBE t",
        "DESC app.t a",
        "EXPLAIN t",
        "EXPLAIN SELECT a FROM t",
        "EXPLAIN EXTENDED SELECT a FROM t",
        "EXPLAIN FORMAT=JSON SELECT a FROM t",
        "ANALYZE SELECT a FROM t",
        "ANALYZE FORMAT=JSON SELECT a FROM t",
    ),
    *read('SELECT "a" FROM "t"', 'SELECT "a""b" FROM (SELECT 1 AS "a""b") AS x', under=ANSI),
    *read("SELECT 'a\\', a FROM t", "SELECT 'it''s\\'", under=NO_BACKSLASH),
    *read("SELECT COUNT (*), MAX (a) FROM t", under=IGNORE_SPACE),
    *read("SELECT id FROM t WHERE c = 'abc'", under=GBK),
    *read("SELECT id FROM t WHERE c = 'gr\xfcn'".encode("latin-1"), under=LATIN1),
    *read(
        "TABLE t",
        "TABLE t ORDER BY a LIMIT 1",
        "VALUES ROW(1, 2), ROW(3, 4)",
        "SELECT d.n FROM t, LATERAL (SELECT t.a AS n) AS d",
        "SELECT j -> '$.a', j ->> '$.a' FROM t",
        "SELECT BIN_TO_UUID(UUID_TO_BIN(UUID())), ANY_VALUE(a) FROM t",
        "SELECT REGEXP_LIKE('a', 'a')",
        "SELECT a FROM t WHERE 1 MEMBER OF ('[1]')",
        "SELECT /*+ NO_INDEX_MERGE(t) */ a FROM t",
        "EXPLAIN ANALYZE SELECT a FROM t",
        "EXPLAIN FORMAT=TREE SELECT a FROM t",
        under=MYSQL,
    ),
]

LOCKING_READS = [
    *write(
        "row locks",
        "SELECT a FROM t FOR UPDATE",
        "select a from t where id=1 for update",
        "SELECT a FROM t FOR/**/UPDATE",
        "SELECT a FROM t LOCK IN SHARE MODE",
        "SELECT a FROM t FOR SHARE SKIP LOCKED",
        "SELECT a FROM t FOR UPDATE NOWAIT",
        "SELECT * FROM (SELECT a FROM t FOR UPDATE) AS x",
        "SELECT a FROM t WHERE id IN (SELECT t_id FROM u LOCK IN SHARE MODE)",
        "(SELECT a FROM t FOR UPDATE) UNION (SELECT a FROM u)",
        "WITH x AS (SELECT a FROM t FOR UPDATE) SELECT * FROM x",
        "SELECT a FROM t -- \n FOR UPDATE",
        "SELECT a FROM t #'\nFOR UPDATE#'",
        "SELECT '\\' FROM t FOR UPDATE -- ', a FROM t FOR UPDATE",
        "SELECT 1.FOR UPDATE",
    ),
    *write("row locks", "SELECT '\\' FROM t FOR UPDATE -- '", under=NO_BACKSLASH),
    *write("row locks", "SELECT \"' FROM t FOR UPDATE -- '\" FROM t FOR UPDATE", under=ANSI),
    *write("row locks", "SELECT a FROM t FOR UPDATE OF t", "TABLE t FOR UPDATE", under=MYSQL),
    *write("row locks", "EXPLAIN ANALYZE SELECT a FROM t FOR UPDATE", under=MYSQL),
]

INTO = [
    *write(
        "INTO",
        "SELECT a FROM t INTO OUTFILE '/tmp/x'",
        "SELECT a INTO OUTFILE '/tmp/x' FROM t",
        "SELECT a INTO DUMPFILE '/tmp/x' FROM t",
        "SELECT a FROM t UNION SELECT a FROM u INTO OUTFILE '/tmp/x'",
        "(SELECT a FROM t INTO OUTFILE '/tmp/x')",
        "SELECT 1.INTO OUTFILE '/tmp/x'",
        "SELECT 1e1INTO OUTFILE '/tmp/x'",
        "SELECT .0INTO OUTFILE '/tmp/x'",
        "SELECT 2*/**/3 INTO OUTFILE '/tmp/x'",
        "SELECT 1 --1 INTO OUTFILE '/tmp/x'",
        "SELECT 1 --/**/INTO OUTFILE '/tmp/x'",
        "SELECT 'a'INTO OUTFILE '/tmp/x'",
        "SELECT `a`INTO OUTFILE '/tmp/x'FROM t",
        "SELECT a INTO b FROM t",
    ),
    *write(
        "INTO",
        "SELECT a FROM t INTO @x",
        "SELECT a, b INTO @x, @y FROM t",
        "TABLE t INTO @x",
        effects=E.USER_VARIABLES,
    ),
]

USER_VARIABLES = [
    *other(
        "a user variable",
        "SELECT @x",
        "SELECT a FROM t WHERE a = @x",
        "SELECT @`x y`",
        "SELECT @'x'",
        needs=Needs.MANAGER,
    ),
    *write(
        "assigns a user variable",
        "SELECT @x := 1",
        "SELECT a, @n:=@n+1 FROM t",
        "SELECT @'x':=1",
        effects=E.USER_VARIABLES,
    ),
]

FUNCTIONS = [
    *write(
        "get_lock",
        "SELECT GET_LOCK('x', 1)",
        "SELECT a FROM t WHERE get_lock ('x', 0) = 1",
        effects=E.NAMED_LOCK,
    ),
    *write(
        "get_lock",
        "SELECT (SELECT GET_LOCK('x', 1))",
        "EXPLAIN SELECT * FROM (SELECT GET_LOCK('x', 1)) AS y",
        effects=E.NAMED_LOCK,
    ),
    *write("release_lock", "SELECT RELEASE_LOCK('x')"),
    *write("release_all_locks", "SELECT RELEASE_ALL_LOCKS()", effects=E.UNLOCK_NAMES),
    *write("release_all_locks", "SELECT IF(0, RELEASE_ALL_LOCKS(), 0)"),
    *write("for their effects", "DO RELEASE_ALL_LOCKS()", effects=E.UNLOCK_NAMES),
    *other("is_free_lock", "SELECT IS_FREE_LOCK('x')", needs=Needs.MANAGER),
    *other("is_used_lock", "SELECT IS_USED_LOCK('x')", needs=Needs.MANAGER),
    *other("load_file", "SELECT LOAD_FILE('/etc/passwd')", needs=Needs.MANAGER),
    *write("wait", "SELECT MASTER_POS_WAIT('a', 4)", "SELECT MASTER_GTID_WAIT('0-1-1', 1)"),
    *write(
        "sequence",
        "SELECT NEXT VALUE FOR s",
        "SELECT a FROM t WHERE a = NEXT VALUE FOR s",
        effects=E.SEQUENCE,
    ),
    *write("an effect", "SELECT NEXTVAL(s)", "SELECT nextval (app.s) + 1", effects=E.SEQUENCE),
    *write("an effect", "SELECT SETVAL(s, 5)"),
    *other("the connection", "SELECT LASTVAL(s)", needs=Needs.LAST_INSERT),
    # MariaDB works the default out: a sequence's next value, an assignment to a user variable.
    *write("default", "SELECT DEFAULT(a) FROM t", effects=E.INSERT),
    *read("SELECT DEFAULT(a) FROM t", under=MYSQL),
    # XPath names user variables ($@x), and the literal is no part of the digest.
    *other(
        "depends on the connection",
        "SELECT EXTRACTVALUE('<a><b>1</b></a>', '//b[$@i]')",
        "SELECT UPDATEXML('<a/>', '/a', '<b/>')",
        "SELECT USER()",
        "SELECT a FROM t WHERE c = CURRENT_USER",
        "SELECT SESSION_USER(), DATABASE()",
        "SELECT CURRENT_ROLE",
        "SELECT VERSION()",
        needs=Needs.MANAGER,
    ),
    *write(
        "sets last_insert_id",
        "SELECT LAST_INSERT_ID(5)",
        "SELECT LAST_INSERT_ID(id) FROM t",
        effects=E.INSERT,
    ),
    *other(
        "last_insert_id",
        "SELECT LAST_INSERT_ID()",
        "SELECT a FROM t WHERE id = LAST_INSERT_ID( )",
        needs=Needs.LAST_INSERT,
    ),
    *other("identity", "SELECT @@identity", "SELECT @@session.identity", needs=Needs.LAST_INSERT),
    *other("last_insert_id", "SELECT @@last_insert_id", needs=Needs.LAST_INSERT),
    *other("found_rows", "SELECT FOUND_ROWS()", needs=Needs.LAST_STATEMENT),
    *other("row_count", "SELECT ROW_COUNT()", needs=Needs.LAST_STATEMENT),
    *other(
        "warning_count",
        "SELECT @@warning_count",
        "SELECT @@session.`warning_count`",
        needs=Needs.LAST_STATEMENT,
    ),
    *other("error_count", "SELECT @@error_count", needs=Needs.LAST_STATEMENT),
    *other("last_insert_id", "SELECT LAST_INSERT_ID(), GET_FORMAT(DATE, 'USA')", needs=Needs.LAST_INSERT),
    *write(
        "no built-in function known here",
        "SELECT f(1)",
        "SELECT F()",
        "SELECT app.f(1)",
        "SELECT `f`(1)",
        "SELECT `app`.`f`(1)",
        "SELECT app . f (1)",
        "SELECT ABS(f(1))",
        "SELECT a FROM t WHERE a = f(a)",
        "SELECT a FROM t ORDER BY f(a)",
        "SELECT a FROM t GROUP BY f(a) HAVING f(a) > 1",
        "SELECT 1 UNION SELECT f(1)",
        "WITH x AS (SELECT f(1)) SELECT * FROM x",
        "WITH f (a) AS (SELECT 1) SELECT f(1) FROM f",
        "SELECT app.abs(1)",
        "SELECT POINT()",
        "SELECT `now`()",
        "SELECT COUNT (*) FROM t",
        "SELECT NOW ()",
        "SELECT MAX/**/(a) FROM t",
        "SELECT datetime(1)",
        "EXPLAIN SELECT f(1)",
        "SELECT f\n(1)",
        "SHOW TABLES WHERE f(1)",
        effects=E.UNTRACKED,
    ),
    *read("SELECT MD5('a'), SHA1('a')"),
    *write("no built-in function known here", "SELECT MD5('a')", effects=E.UNTRACKED, under=MYSQL),
    *write("no built-in function known here", "SELECT BIN_TO_UUID(a) FROM t", effects=E.UNTRACKED),
    *write(
        "no built-in function known here",
        "SELECT NATURAL_SORT_KEY(a) FROM t",
        effects=E.UNTRACKED,
        under=MYSQL,
    ),
    *write(
        "no built-in function known here",
        "SELECT JSON_OVERLAPS('[1]', '[1]')",
        effects=E.UNTRACKED,
        under=SqlContext(version=(10, 6, 0)),
    ),
    *write("not understood", "SELECT JSON_TABLE(1)", "SELECT a FROM t WHERE JSON_TABLE(a, 1)"),
    *write("procedure", "SELECT a FROM t PROCEDURE ANALYSE()", effects=E.UNTRACKED),
]

SERVER_STATE = [
    *other(
        "reads the variable",
        "SELECT @@hostname",
        "SELECT @@server_id",
        "SELECT @@read_only",
        "SELECT @@global.read_only",
        "SELECT @@GLOBAL . gtid_binlog_pos",
        "SELECT @@gtid_current_pos",
        "SELECT @@autocommit",
        "SELECT @@session.sql_mode",
        "SELECT @@version_comment LIMIT 1",
        "SELECT @@max_allowed_packet",
        "SELECT @@tx_isolation, @@`time_zone`",
        "SELECT @@hot_cache.key_buffer_size",
        "SELECT a FROM t WHERE a = @@server_id",
        "SELECT @@global.pseudo_thread_id",
        needs=Needs.MANAGER,
    ),
    *other(
        "each server's own",
        "SELECT * FROM mysql.user",
        "SELECT * FROM `mysql`.`general_log`",
        "SELECT * FROM performance_schema.threads",
        "SELECT * FROM sys.version",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM MYSQL.user)",
        "DESCRIBE mysql.user",
        "SHOW COLUMNS FROM user FROM mysql",
        needs=Needs.MANAGER,
    ),
    *other("each server's own", "SELECT * FROM user", needs=Needs.MANAGER, under=IN_MYSQL),
    *other("a SHOW that is not understood", "SHOW COLUMNS FROM .", "SHOW COLUMNS IN", needs=Needs.MANAGER),
    *other(
        "differs from server to server",
        "SELECT * FROM information_schema.PROCESSLIST",
        "SELECT * FROM information_schema.GLOBAL_STATUS",
        "SELECT * FROM information_schema.GLOBAL_VARIABLES",
        "SELECT * FROM information_schema.INNODB_TRX",
        "SELECT * FROM INFORMATION_SCHEMA.STATISTICS",
        needs=Needs.MANAGER,
    ),
    *other(
        "differs from server to server",
        "SELECT * FROM processlist",
        needs=Needs.MANAGER,
        under=IN_INFORMATION_SCHEMA,
    ),
    *other(
        "SHOW",
        "SHOW CREATE TABLE t",
        "SHOW INDEX FROM t",
        "SHOW TABLE STATUS",
        "SHOW PROCESSLIST",
        "SHOW FULL PROCESSLIST",
        "SHOW VARIABLES LIKE 'x'",
        "SHOW GLOBAL STATUS",
        "SHOW SESSION VARIABLES",
        "SHOW ENGINES",
        "SHOW ENGINE INNODB STATUS",
        "SHOW MASTER STATUS",
        "SHOW ALL SLAVES STATUS",
        "SHOW BINLOG EVENTS",
        "SHOW GRANTS",
        "SHOW PLUGINS",
        "SHOW EXPLAIN FOR 1",
        "SHOW TABLES WHERE 1 = 1",
        "SHOW PROFILE",
        needs=Needs.MANAGER,
    ),
    *other(
        "warnings",
        "SHOW WARNINGS",
        "SHOW ERRORS LIMIT 1",
        "SHOW COUNT(*) WARNINGS",
        "show count(*) errors",
        needs=Needs.LAST_STATEMENT,
    ),
    *other(
        "diagnostics", "GET DIAGNOSTICS @n = NUMBER", needs=Needs.LAST_STATEMENT, effects=E.USER_VARIABLES
    ),
    *other("administers", "HELP 'select'", needs=Needs.MANAGER),
    *other(
        "runs elsewhere",
        "EXPLAIN FOR CONNECTION 5",
        "EXPLAIN FORMAT=JSON FOR CONNECTION 5",
        "EXPLAIN FOR SCHEMA app SELECT a FROM t",
        needs=Needs.MANAGER,
    ),
    *write("INTO", "EXPLAIN FORMAT=JSON INTO @x SELECT a FROM t", effects=E.USER_VARIABLES, under=MYSQL),
    *other(
        "information_schema.tables",
        "SELECT TABLE_NAME FROM information_schema.TABLES",
        "SELECT AUTO_INCREMENT FROM INFORMATION_SCHEMA.tables WHERE TABLE_NAME = 't'",
        needs=Needs.MANAGER,
    ),
]

EXECUTABLE_COMMENTS = [
    *write(
        "executable comment",
        "SELECT 1 /*! INTO OUTFILE '/tmp/x' */",
        "SELECT 1 /*!50000 INTO OUTFILE '/tmp/x' */",
        "SELECT 1 /*M! INTO OUTFILE '/tmp/x' */",
        "SELECT 1 /*M!100100 INTO OUTFILE '/tmp/x' */",
        "SELECT a FROM t /*!FOR UPDATE*/",
        "/*!50000 SELECT */ 1",
        "SELECT 1 /*!99999 + 1 */",
        "SELECT/*!*/1",
        "SELECT 1 /* a */ /*!80000 , 2 */ -- b",
        effects=E.UNTRACKED,
    ),
    *write(
        "executable comment",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM t",
        "SELECT /*! STRAIGHT_JOIN */ a FROM t",
    ),
    *write(
        "executable comment",
        "SELECT /*!99999 ' */ GET_LOCK('x', 1) /* ' */",
        effects=E.UNTRACKED,
    ),
    *other(
        "executable comment",
        "/*!40101 SET NAMES utf8mb4 */",
        "/*!40101 SET NAMES utf8mb4 */;",
        effects=E.VARIABLES,
    ),
    *other(
        "executable comment",
        "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */",
        effects=E.USER_VARIABLES | E.VARIABLES,
    ),
    *write("executable comment", "/*!40000 ALTER TABLE `t` DISABLE KEYS */", effects=E.DDL),
    *write("executable comment", "/*!99999 ' */ SET @x = 1 /* ' */", effects=ANYTHING),
    *write("executable comment", "SELECT '*/' /*! 1 */", effects=E.UNTRACKED),
    *write("comment without an end", "SELECT 1 /* abc", "SELECT a FROM t /*", effects=E.UNTRACKED),
    *read("SELECT '/*!50000 INTO OUTFILE */'", "SELECT `/*!`.x FROM (SELECT 1 AS x) AS `/*!`"),
    *read("SELECT a FROM t # /*! FOR UPDATE */", "SELECT a FROM t /* /*! FOR UPDATE */"),
    *other("optimizer hint", "SELECT /*+ SET_VAR(sort_buffer_size=16384) */ 1", needs=Needs.MANAGER),
    *write(
        "hints that are not understood",
        "SELECT /*+ ' */ 1 INTO OUTFILE '/tmp/x'",
        "SELECT /*+ -- */ GET_LOCK('a', 1),\n 1",
        effects=E.UNTRACKED,
    ),
]

WRITES = [
    *write(
        "INSERT changes data",
        "INSERT INTO t VALUES (1, 2)",
        "INSERT INTO t (a, b) VALUES (1, 2), (3, 4)",
        "insert into t set a = 1",
        "INSERT IGNORE app.t (a) SELECT a FROM u",
        "INSERT INTO `t` (`a`) VALUES (NOW()) ON DUPLICATE KEY UPDATE a = VALUES(a)",
        "INSERT INTO t (a) VALUES (1) RETURNING id",
        "INSERT t () VALUES ()",
        "/* c */ INSERT INTO t VALUES (1)",
        effects=E.INSERT,
    ),
    *write("REPLACE changes data", "REPLACE INTO t (a) VALUES (1)", "REPLACE t SET a = 1", effects=E.INSERT),
    *write("UPDATE changes data", "UPDATE t SET a = 1", "UPDATE t, u SET t.a = u.a WHERE t.id = u.t_id"),
    *write("UPDATE changes data", "UPDATE t SET a = LAST_INSERT_ID(a + 1)", effects=E.INSERT),
    *write(
        "DELETE changes data",
        "DELETE FROM t",
        "DELETE t FROM t JOIN u ON t.id = u.t_id",
        "DELETE FROM t WHERE id = 1 RETURNING a",
    ),
    *write("INSERT changes data", "INSERT INTO t (a) VALUES (f(1))", effects=E.INSERT | E.UNTRACKED),
    *write(
        "INSERT changes data", "INSERT INTO t (a) SELECT GET_LOCK('x', 1)", effects=E.INSERT | E.NAMED_LOCK
    ),
    *write("INSERT changes data", "INSERT INTO t (a) VALUES (@x := 1)", effects=E.INSERT | E.USER_VARIABLES),
    *write(
        "after a WITH clause",
        "WITH x AS (SELECT 1 AS a) UPDATE t, x SET t.a = x.a",
        "WITH x AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM x)",
    ),
    *write("ANALYZE executes", "ANALYZE UPDATE t SET a = 1"),
    *other(
        "explains",
        "EXPLAIN UPDATE t SET a = 1",
        "EXPLAIN DELETE FROM t",
        "DESCRIBE INSERT INTO t VALUES (1)",
        needs=Needs.MANAGER,
    ),
    *other("explains", "EXPLAIN SELECT a FROM t FOR UPDATE", needs=Needs.MANAGER),
    *write(
        "LOAD changes data",
        "LOAD DATA INFILE '/x' INTO TABLE t (a, b)",
        "LOAD XML LOCAL INFILE 'x' INTO TABLE t",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t FIELDS TERMINATED BY ',' IGNORE 1 LINES (a, b)",
        effects=E.INSERT,
    ),
    *write(
        "LOAD changes data",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t (a, @b) SET b = @b",
        effects=E.INSERT | E.USER_VARIABLES,
    ),
    *write("for their effects", "DO SLEEP(1)", "DO 1"),
    *write("for their effects", "DO GET_LOCK('x', 1)", effects=E.NAMED_LOCK),
    *write("for their effects", "DO f(1)", effects=E.UNTRACKED),
    *write("for their effects", "DO @x := 1", effects=E.USER_VARIABLES),
    *write("calls a procedure", "CALL p()", "CALL app.p(@x)", "call p", effects=ANYTHING),
    *write(
        "not in the text", "EXECUTE q", "EXECUTE q USING @a", "EXECUTE IMMEDIATE 'SELECT 1'", effects=ANYTHING
    ),
    *write(
        "a block of statements",
        "BEGIN NOT ATOMIC SET @x = 1; END",
        effects=ANYTHING | E.TRANSACTION,
    ),
    *write(
        "no word that is known",
        "IF 1 THEN SELECT 1; END IF",
        "FOR i IN 1..3 DO SELECT i; END FOR",
        "LOOP SELECT 1; END LOOP",
        "FROBNICATE",
        "$$",
        "1",
        "'a'",
        effects=ANYTHING,
    ),
    *write("replays events", "BINLOG 'x'", effects=ANYTHING),
    *write("changes accounts", "GRANT SELECT ON app.* TO x", "REVOKE ALL ON app.* FROM x", effects=E.LOGINS),
    *write("maintains tables", "ANALYZE TABLE t", "OPTIMIZE TABLE t", "REPAIR TABLE t", "CHECK TABLE t"),
    *write("binary log", "FLUSH TABLES", "FLUSH PRIVILEGES", "FLUSH LOCAL STATUS", effects=E.LOGINS),
    *write("not understood", "SELECT", "SELECT FROM WHERE", "SELECT 1 2 3", "SELECT (1", "SELECT ' a"),
    *write(
        "not understood",
        "SELECT $$",
        "SELECT $$ a $$ FROM t",
        "SELECT \\N",
        "SELECT {d '2024-01-01'}",
        "SELECT a[1] FROM t",
    ),
    *write("NUL byte", b"SELECT 1\0"),
    *write("not understood", b"SELECT 1 AS \xff"),
    *write("not understood", b"SELECT a\xff, @x := 1", effects=ANYTHING),
]

SCHEMA_CHANGES = [
    *write(
        "changes the schema",
        "CREATE DATABASE x",
        "CREATE INDEX i ON t (a)",
        "CREATE OR REPLACE VIEW v AS TABLE t",
        "ALTER TABLE t ADD COLUMN d INT",
        "DROP TABLE t",
        "DROP TEMPORARY TABLE x",
        "TRUNCATE t",
        "TRUNCATE TABLE t",
        "RENAME TABLE t TO w",
        "CREATE TABLE x (id INT PRIMARY KEY, a VARCHAR(10) DEFAULT (UUID()))",
        "CREATE SEQUENCE s",
        effects=E.DDL,
    ),
    *write(
        "changes the schema",
        "CREATE USER x",
        "CREATE OR REPLACE ROLE x",
        "ALTER USER IF EXISTS x ACCOUNT LOCK",
        "DROP USER x",
        "RENAME USER x TO y",
        effects=E.DDL | E.LOGINS,
    ),
    *write(
        "changes the schema",
        "CREATE TEMPORARY TABLE x (a INT)",
        "CREATE OR REPLACE TEMPORARY TABLE x (a INT)",
        effects=E.DDL | E.TEMPORARY_TABLE,
    ),
    *write(
        "changes the schema",
        "CREATE TABLE x AS SELECT a FROM t",
        "CREATE VIEW w AS SELECT a FROM t",
        effects=E.DDL | E.INSERT,
    ),
    *write("changes the schema", "CREATE FUNCTION g() RETURNS INT RETURN GET_LOCK('x', 1)", effects=E.DDL),
    *write("installs", "INSTALL SONAME 'x'", "UNINSTALL PLUGIN x", effects=E.DDL),
]

SESSION = [
    *other(
        "sets session state",
        "SET NAMES utf8mb4",
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
        "SET CHARACTER SET utf8mb4",
        "SET sql_mode = 'ANSI_QUOTES'",
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), time_zone = '+00:00'",
        "SET @@session.sql_mode = ''",
        "SET @@sql_mode := ''",
        "set local foreign_key_checks=0",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION transaction_isolation = 'READ-COMMITTED'",
        effects=E.VARIABLES,
    ),
    *other(
        "sets session state",
        "SET autocommit=0",
        "SET @@autocommit = ON",
        "SET SESSION autocommit = 1",
        effects=E.VARIABLES | E.TRANSACTION,
    ),
    *other(
        "sets session state",
        "SET @x = 1",
        "SET @x := (SELECT MAX(a) FROM t), @y = 2",
        effects=E.USER_VARIABLES,
    ),
    *other(
        "sets session state",
        "SET @x = 1, NAMES utf8mb4, autocommit = 1",
        effects=E.USER_VARIABLES | E.VARIABLES | E.TRANSACTION,
    ),
    *other(
        "sets session state",
        "SET GLOBAL read_only = 1",
        "SET @@global.read_only = 1",
        "SET PERSIST max_connections = 10",
        "SET @@persist_only.x = 1",
        "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        effects=E.LOGINS,
    ),
    *other(
        "sets session state",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION READ ONLY",
        effects=E.ONE_TRANSACTION,
    ),
    *other(
        "sets session state",
        "SET @@transaction_isolation = 'SERIALIZABLE'",
        "SET tx_read_only = 1",
        effects=E.VARIABLES | E.ONE_TRANSACTION,
    ),
    *other("sets session state", "SET ROLE admin", "SET ROLE NONE", effects=E.ROLE),
    # What stands behind may be another statement to the server than to us.
    *write(
        "not understood",
        r"SET sql_mode='NO_BACKSLASH_ESCAPES'; SELECT 'a\' , GET_LOCK('a',1) -- '",
        effects=E.VARIABLES | E.UNTRACKED,
    ),
    *other(
        "sets session state",
        b"SET NAMES gbk; SELECT '\xe4\xbf\xa1'",
        'SET sql_mode = ANSI_QUOTES; SELECT "a"',
        effects=E.VARIABLES | E.UNTRACKED,
    ),
    *other("sets session state", "SET NAMES utf8mb4; SET sql_mode = 'x'; SELECT 1", effects=E.VARIABLES),
    *other("sets session state", "SET RESOURCE GROUP g", effects=E.UNTRACKED, under=MYSQL),
    *other(
        "sets session state",
        "SET sql_log_bin = 0",
        "SET timestamp = 1",
        "SET insert_id = 5",
        "SET last_insert_id = 5",
        "SET @@identity = 5",
        "SET rand_seed1 = 1, rand_seed2 = 2",
        "SET gtid_next = 'AUTOMATIC'",
        "SET SESSION gtid_domain_id = 1",
        "SET server_id = 5",
        "SET pseudo_slave_mode = 1",
        "SET session_track_schema = 1 - 1",
        "SET hot_cache.key_buffer_size = 1",
        effects=E.VARIABLES | E.UNTRACKED,
    ),
    *write("get_lock", "SET @x = GET_LOCK('x', 1)", effects=E.USER_VARIABLES | E.NAMED_LOCK),
    *write("no built-in function", "SET sql_mode = f(1)", effects=E.VARIABLES | E.UNTRACKED),
    *write("password", "SET PASSWORD = PASSWORD('x')", "SET PASSWORD FOR x = 'y'", effects=E.LOGINS),
    *write(
        "default role", "SET DEFAULT ROLE r", "SET DEFAULT ROLE NONE FOR x", effects=E.LOGINS | E.UNTRACKED
    ),
    *write("under other variables", "SET STATEMENT max_statement_time = 1 FOR SELECT a FROM t"),
    *write(
        "under other variables", "SET STATEMENT sql_mode = '' FOR INSERT INTO t VALUES (1)", effects=E.INSERT
    ),
    *write(
        "under other variables",
        "SET STATEMENT sql_mode = '' FOR CREATE TEMPORARY TABLE x (a INT)",
        effects=E.DDL | E.TEMPORARY_TABLE,
    ),
    *other("default schema", "USE app", "use `app`", effects=E.SCHEMA),
    *other(
        "begins a transaction",
        "BEGIN",
        "BEGIN WORK",
        "START TRANSACTION",
        "START TRANSACTION READ ONLY",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        effects=E.TRANSACTION,
    ),
    *other(
        "ends a transaction",
        "COMMIT",
        "COMMIT AND CHAIN",
        "ROLLBACK",
        "ROLLBACK TO SAVEPOINT a",
        "COMMIT RELEASE",
        effects=E.TRANSACTION,
    ),
    *other("marks a place", "SAVEPOINT a", "RELEASE SAVEPOINT a", effects=E.TRANSACTION),
    *other("distributed", "XA START 'x'", "XA COMMIT 'x'", "XA RECOVER", effects=E.TRANSACTION),
    *other("prepares", "PREPARE q FROM 'SELECT 1'", effects=E.PREPARED),
    *other("prepares", "PREPARE q FROM @x", effects=E.PREPARED | E.UNTRACKED),
    *other("drops a prepared", "DEALLOCATE PREPARE q", "DROP PREPARE q", effects=E.PREPARED),
    *other("HANDLER", "HANDLER t OPEN", "HANDLER t OPEN AS h", effects=E.TABLE_LOCK, needs=Needs.MANAGER),
    *other("HANDLER", "HANDLER t READ FIRST", "HANDLER t CLOSE", needs=Needs.MANAGER),
    *other(
        "locks tables",
        "LOCK TABLES t READ",
        "LOCK TABLE t WRITE, u READ",
        effects=E.TABLE_LOCK,
        needs=Needs.MANAGER,
    ),
    *other("unlocks", "UNLOCK TABLES", effects=E.UNLOCK_TABLES, needs=Needs.MANAGER),
    *write(
        "FLUSH",
        "FLUSH TABLES WITH READ LOCK",
        "FLUSH TABLES t FOR EXPORT",
        "FLUSH TABLES t WITH READ LOCK",
        effects=E.TABLE_LOCK,
    ),
    *other("backup", "BACKUP STAGE START", "BACKUP LOCK t", effects=E.TABLE_LOCK, needs=Needs.MANAGER),
    *other(
        "ends a statement",
        "KILL 5",
        "KILL QUERY 5",
        "KILL HARD CONNECTION 5",
        "KILL USER x",
        "KILL QUERY ID 5",
    ),
    *other(
        "administers",
        "CHANGE MASTER TO MASTER_HOST='x'",
        "STOP SLAVE",
        "RESET MASTER",
        "SHUTDOWN",
        "PURGE BINARY LOGS TO 'x'",
        needs=Needs.MANAGER,
    ),
    *other("administers", "START SLAVE", "START REPLICA", needs=Needs.MANAGER),
    *other("empty", "", " ", ";", "-- nothing", "/* nothing */ ; "),
]

SEVERAL_STATEMENTS = [
    *write(
        "INSERT", "SELECT 1; INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1); SELECT 1", effects=E.INSERT
    ),
    *write("row locks", "SELECT 1; SELECT a FROM t FOR UPDATE;"),
    *other("sets session state", "SET NAMES utf8mb4; SELECT 1", effects=E.VARIABLES),
    *other("sets session state", "SELECT 1; SET @x = 1; USE app", effects=E.USER_VARIABLES | E.SCHEMA),
    *write("DELETE", "BEGIN; DELETE FROM t; COMMIT", effects=E.TRANSACTION),
    *write(
        "INSERT",
        "INSERT INTO t (a) VALUES (';'); CREATE TEMPORARY TABLE x (a INT)",
        effects=E.INSERT | E.DDL | E.TEMPORARY_TABLE,
    ),
    *other("locks tables", "LOCK TABLES t READ; UNLOCK TABLES", effects=E.TABLE_LOCK, needs=Needs.MANAGER),
    *other(
        "found_rows",
        "SELECT SQL_CALC_FOUND_ROWS a FROM t; SELECT FOUND_ROWS()",
        effects=E.FOUND_ROWS,
        needs=Needs.MANAGER,
    ),
    *other("found_rows", "SELECT FOUND_ROWS(); SELECT 1", needs=Needs.LAST_STATEMENT),
]

OTHER_MODES = [
    *write("ORACLE", "SELECT 1", "SELECT s.nextval", under=ORACLE),
    *write("ORACLE", "INSERT INTO t VALUES (1)", effects=E.INSERT, under=ORACLE),
    *write("may hide", b"SELECT '\xbf\\' FROM t", b"SELECT 1 FROM t WHERE c = '\x95\\'", under=GBK),
    *write("not understood", b"SELECT 1 --\xa0 INTO OUTFILE 'x'", under=LATIN1),
    *write("does not extend ASCII", "SELECT 1", under=SqlContext(charset="swe7")),
    *write("may hide", "SELECT 'ü'", under=SqlContext(charset="unheard_of")),
]

CASES = [
    *PLAIN_READS,
    *LOCKING_READS,
    *INTO,
    *USER_VARIABLES,
    *FUNCTIONS,
    *SERVER_STATE,
    *EXECUTABLE_COMMENTS,
    *WRITES,
    *SCHEMA_CHANGES,
    *SESSION,
    *SEVERAL_STATEMENTS,
    *OTHER_MODES,
]
