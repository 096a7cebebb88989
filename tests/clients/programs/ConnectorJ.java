// MariaDB Connector/J: text and server-side prepared statements; java runs the source as it is.
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.StringJoiner;

public class ConnectorJ {
    static final String COLUMNS = "name, bytes, nothing, day, moment, price, big, negative";
    static final String FIXED = "SELECT " + COLUMNS + ", 1 AS plain FROM fixed WHERE id = ?";
    static final String TEXT = "naïve 日本 🦆";
    static final String NEGATIVE = "-9223372036854775808";
    static final StringJoiner facts = new StringJoiner(", ", "{", "}");

    interface Action {
        void run() throws SQLException;
    }

    static Connection connect(String options) throws SQLException {
        String place = "jdbc:mariadb://" + System.getenv("HOST") + ":" + System.getenv("PORT") + "/"
            + System.getenv("DATABASE") + "?allowMultiQueries=true&allowPublicKeyRetrieval=true" + options;
        return DriverManager.getConnection(place, System.getenv("DATABASE_USER"), System.getenv("PASSWORD"));
    }

    static void fact(String name, Object json) {
        facts.add('"' + name + "\": " + json);
    }

    static String quoted(Object value) {
        return value == null ? "null" : '"' + value.toString() + '"';
    }

    static byte[] bytes(int times) {
        byte[] all = new byte[256 * times];
        for (int i = 0; i < all.length; i++) all[i] = (byte) i;
        return all;
    }

    static List<String> row(PreparedStatement statement) throws SQLException {
        try (statement; ResultSet result = statement.executeQuery()) {
            result.next();
            List<String> shown = new ArrayList<>();
            shown.add(quoted(result.getString(1)));
            shown.add(quoted(HexFormat.of().formatHex(result.getBytes(2))));
            for (int column = 3; column <= 8; column++) shown.add(quoted(result.getString(column)));
            return shown;
        }
    }

    static PreparedStatement prepared(Connection connection, String sql, Object... values) throws SQLException {
        PreparedStatement statement = connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS);
        for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
        return statement;
    }

    static long number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery(sql)) {
            result.next();
            return result.getLong(1);
        }
    }

    static int update(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return statement.executeUpdate(sql);
        }
    }

    static long insert(PreparedStatement statement) throws SQLException {
        try (statement) {
            statement.executeUpdate();
            ResultSet keys = statement.getGeneratedKeys();
            keys.next();
            return keys.getLong(1);
        }
    }

    static String failure(Action action) {
        try {
            action.run();
            return "null";
        } catch (SQLException error) {
            return "[" + error.getErrorCode() + ", " + quoted(error.getSQLState()) + "]";
        }
    }

    static List<Long> several(Connection connection, String sql) throws SQLException {
        List<Long> found = new ArrayList<>();
        try (Statement statement = connection.createStatement()) {
            boolean rows = statement.execute(sql);
            while (rows || statement.getUpdateCount() != -1) {
                if (rows) {
                    ResultSet result = statement.getResultSet();
                    result.next();
                    found.add(result.getLong(1));
                }
                rows = statement.getMoreResults();
            }
        }
        return found;
    }

    public static void main(String[] arguments) throws Exception {
        Connection connection = connect("");
        Connection preparing = connect("&useServerPrepStmts=true");
        try (ResultSet first = connection.createStatement()
                .executeQuery("SELECT DATABASE(), @@character_set_client, CONNECTION_ID()")) {
            first.next();
            fact("schema", quoted(first.getString(1)));
            fact("charset", quoted(first.getString(2)));
        }
        long id = number(connection, "SELECT CONNECTION_ID()");
        fact("same_id", id >= 1L << 31); // the driver does not show the greeting's

        fact("fixed", row(prepared(connection, FIXED, 1)));
        fact("fixed_prepared", row(prepared(preparing, FIXED, 1)));

        String insert = "INSERT INTO things (" + COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        long one = insert(prepared(preparing, insert, TEXT, bytes(1), null, "2024-02-29",
            "2024-02-29 23:59:59.123456", "12345678901234.567890", "18446744073709551615", NEGATIVE));
        long two = insert(prepared(connection, "INSERT INTO things (name) VALUES (?)", "second"));
        fact("insert_ids", List.of(one, two));
        fact("changed", update(connection, "UPDATE things SET negative = -1"));
        fact("unchanged", update(connection, "UPDATE things SET negative = -1"));
        update(connection, "UPDATE things SET negative = " + NEGATIVE + " WHERE id = 1");

        connection.setAutoCommit(false);
        fact("inserted", row(prepared(connection,
            "SELECT " + COLUMNS + ", 1 AS in_transaction FROM things WHERE name = ?", TEXT)));
        update(connection, "INSERT INTO things (name) VALUES ('undone')");
        connection.rollback();
        connection.setAutoCommit(true);
        fact("after_rollback", number(connection, "SELECT COUNT(*) AS plain FROM things"));
        connection.setAutoCommit(false);
        update(connection, "INSERT INTO things (name) VALUES ('third')");
        connection.commit();
        connection.setAutoCommit(true);
        fact("after_commit", number(connection, "SELECT COUNT(*) AS plain FROM things"));

        fact("duplicate", failure(() -> update(connection, "INSERT INTO things (name) VALUES ('third')")));
        fact("syntax", failure(() -> update(connection, "SELECT FROM things")));

        prepared(connection, "UPDATE things SET bytes = ? WHERE name = 'third'", bytes(5 * 4096)).executeUpdate();
        try (ResultSet result = connection.createStatement()
                .executeQuery("SELECT bytes AS plain FROM things WHERE name = 'third'")) {
            result.next();
            byte[] found = result.getBytes(1);
            String sum = HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(found));
            fact("long", "[" + found.length + ", " + quoted(sum) + "]");
        }

        fact("several", several(connection, "SELECT 1; SELECT 2"));
        fact("procedure", several(connection, "CALL two_results()"));

        update(preparing, "KILL " + id);
        fact("killed", !failure(() -> number(connection, "SELECT 1")).equals("null"));
        try (Connection anew = connect("")) {
            fact("again", number(anew, "SELECT 1"));
        }
        preparing.close();
        System.out.write((facts + "\n").getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }
}
