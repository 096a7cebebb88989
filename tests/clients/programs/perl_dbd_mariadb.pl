# Perl's DBD::MariaDB: statements emulated by the driver and prepared on the server, auto_reconnect off.
use strict;
use warnings;
use utf8;
use DBI qw(:sql_types);
use Digest::MD5 qw(md5_hex);
use JSON::PP;

my $COLUMNS  = 'name, bytes, nothing, day, moment, price, big, negative';
my $FIXED    = "SELECT $COLUMNS, 1 AS plain FROM fixed WHERE id = ";
my $TEXT     = 'naïve 日本 🦆';
my $NEGATIVE = '-9223372036854775808';
my $BYTES    = join '', map { chr } 0 .. 255;

sub connection {
    return DBI->connect(
        "DBI:MariaDB:host=$ENV{HOST};port=$ENV{PORT};database=$ENV{DATABASE};mariadb_multi_statements=1",
        $ENV{DATABASE_USER}, $ENV{PASSWORD}, { RaiseError => 1, PrintError => 0, AutoCommit => 1 } );
}

sub shown {
    my @row = @_[ 0 .. 7 ];
    $row[1] = unpack 'H*', $row[1];
    return [ map { defined $_ ? "$_" : undef } @row ];
}

sub failure {
    my ($action) = @_;
    return undef if eval { $action->(); 1 };
    return [ $DBI::err, $DBI::state ];
}

my %facts;
my $dbh   = connection();
my $other = connection();
my $ask   = sub { my ( $sql, @values ) = @_; return $dbh->selectrow_array( $sql, {}, @values ) };

my ( $schema, $charset, $number ) = $ask->('SELECT DATABASE(), @@character_set_client, CONNECTION_ID()');
$facts{schema}  = $schema;
$facts{charset} = $charset;
$facts{same_id} = $number == $dbh->{mariadb_thread_id} ? \1 : \0;

$facts{fixed} = shown( $ask->( $FIXED . '?', 1 ) );
$facts{fixed_prepared} = shown( $dbh->selectrow_array( $FIXED . '?', { mariadb_server_prepare => 1 }, 1 ) );

my $marks     = join ', ', ('?') x 8;
my $statement = $dbh->prepare( "INSERT INTO things ($COLUMNS) VALUES ($marks)", { mariadb_server_prepare => 1 } );
my @values    = ( $TEXT, $BYTES, undef, '2024-02-29', '2024-02-29 23:59:59.123456', '12345678901234.567890',
    '18446744073709551615', $NEGATIVE );
$statement->bind_param( $_ + 1, $values[$_], $_ == 1 ? SQL_BLOB : SQL_VARCHAR ) for 0 .. 7;
$statement->execute;
my @ids = ( $dbh->last_insert_id );
$dbh->do("INSERT INTO things (name) VALUES ('second')");
$facts{insert_ids} = [ map { $_ + 0 } @ids, $dbh->last_insert_id ];
$facts{changed}    = $dbh->do('UPDATE things SET negative = -1') + 0;
$facts{unchanged}  = $dbh->do('UPDATE things SET negative = -1') + 0;
$dbh->do("UPDATE things SET negative = $NEGATIVE WHERE id = 1");

$dbh->begin_work;
$facts{inserted} = shown( $ask->( "SELECT $COLUMNS, 1 AS in_transaction FROM things WHERE name = ?", $TEXT ) );
$dbh->do("INSERT INTO things (name) VALUES ('undone')");
$dbh->rollback;
my $count = sub { return ( $ask->('SELECT COUNT(*) AS plain FROM things') )[0] + 0 };
$facts{after_rollback} = $count->();
$dbh->begin_work;
$dbh->do("INSERT INTO things (name) VALUES ('third')");
$dbh->commit;
$facts{after_commit} = $count->();

$facts{duplicate} = failure( sub { $dbh->do("INSERT INTO things (name) VALUES ('third')") } );
$facts{syntax}    = failure( sub { $dbh->do('SELECT FROM things') } );

my $long = $BYTES x ( 5 * 4096 );
$statement = $dbh->prepare("UPDATE things SET bytes = ? WHERE name = 'third'");
$statement->bind_param( 1, $long, SQL_BLOB );
$statement->execute;
my ($found) = $ask->("SELECT bytes AS plain FROM things WHERE name = 'third'");
$facts{long} = [ length $found, md5_hex($found) ];

for ( [ several => 'SELECT 1; SELECT 2' ], [ procedure => 'CALL two_results()' ] ) {
    my ( $name, $sql ) = @$_;
    my $results = $dbh->prepare($sql);
    $results->execute;
    my @first;
    do {
        push @first, ( $results->fetchrow_array )[0] + 0 if $results->{NUM_OF_FIELDS};
    } while $results->more_results;
    $facts{$name} = \@first;
}

$other->do("KILL $number");
$facts{killed} = failure( sub { $ask->('SELECT 1') } ) ? \1 : \0;
my $anew = connection();
$facts{again} = ( $anew->selectrow_array('SELECT 1') )[0] + 0;
print JSON::PP->new->ascii->encode( \%facts );
