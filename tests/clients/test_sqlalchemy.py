"""SQLAlchemy 2 through the daemon, Core and ORM, over each of its drivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, LargeBinary, Numeric, String, event, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from tests.clients.site import BYTES, TEXT, Site

DRIVERS = {
    "pymysql": "pymysql",
    "mysqldb": "MySQLdb",
    "mysqlconnector": "mysql.connector",
    "mariadbconnector": "mariadb",
}


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    credit = Column(Numeric(12, 2))
    photo = Column(LargeBinary)
    orders: Mapped[list[Order]] = relationship(back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sqlalchemy.ForeignKey("customers.id"))
    count = Column(Integer, index=True)
    customer: Mapped[Customer] = relationship(back_populates="orders")


Make = Callable[..., sqlalchemy.Engine]


@pytest.fixture(params=DRIVERS)
def engine_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Site], sqlalchemy.Engine]]:
    """An engine on a site by each driver, with the tables made through the daemon."""
    driver = request.param
    pytest.importorskip(DRIVERS[driver], reason=f"the driver {driver} is not installed")
    engines: list[sqlalchemy.Engine] = []

    def make(site: Site) -> sqlalchemy.Engine:
        if driver == "mariadbconnector" and site.kind == "mysql":
            pytest.skip("this dialect of SQLAlchemy is for MariaDB alone")
        kind = "mariadb" if driver == "mariadbconnector" else "mysql"
        url = sqlalchemy.URL.create(f"{kind}+{driver}", **site.arguments(user="username"))
        engine = sqlalchemy.create_engine(
            url, pool_pre_ping=True, pool_size=2, connect_args=EXTRA.get(driver, {})
        )
        engines.append(engine)
        Base.metadata.create_all(engine)
        site.wait_for_tables("customers", "orders")
        return engine

    yield make
    for engine in engines:
        engine.dispose()


EXTRA: dict[str, dict[str, Any]] = {"mysqlconnector": {"use_pure": True}}


def test_the_orm_writes_and_reads(site: Site, engine_of: Make) -> None:
    engine = engine_of(site)
    with Session(engine, expire_on_commit=False) as session:
        orders = [Order(count=number) for number in range(3)]
        customer = Customer(name=TEXT, credit=Decimal("12.50"), photo=BYTES, orders=orders)
        others = [Customer(name=f"customer {number}") for number in range(50)]
        session.add_all([customer, *others])
        session.commit()
        assert len({c.id for c in (customer, *others)}) == 51

    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(reading) as session:
        found = session.scalars(select(Customer).where(Customer.name == TEXT)).one()
        assert (found.credit, found.photo) == (Decimal("12.50"), BYTES)
        assert sorted(order.count for order in found.orders) == [0, 1, 2]
        assert session.scalar(select(func.count(Customer.id))) == 51
    assert site.served(r"^SELECT customers\.")[0] == 0, "the manager served an autocommit read"
    assert site.served(r"^SELECT (customers|orders)\.")[1] == 2
    assert site.served(r"^INSERT INTO (customers|orders)")[1] == 0

    with Session(engine) as session:
        found = session.scalars(select(Customer).where(Customer.name == TEXT).with_for_update()).one()
        session.delete(found)
        session.flush()
        session.rollback()
        assert session.scalar(select(func.count(Order.id))) == 3
        with pytest.raises(IntegrityError), session.begin_nested():
            session.add(Customer(name=TEXT))
            session.flush()
        session.add(Customer(name="after the savepoint"))
        session.commit()
        assert session.scalar(select(func.count(Customer.id))) == 52
    assert site.served("FOR UPDATE|SAVEPOINT|DELETE FROM")[1] == 0


def test_core_transactions_levels_and_reflection(site: Site, engine_of: Make) -> None:
    engine = engine_of(site)
    with engine.begin() as connection:
        inserted = connection.execute(sqlalchemy.insert(Customer), {"name": "a"})
        assert inserted.inserted_primary_key == (1,)
        assert connection.execute(sqlalchemy.update(Customer).values(name="a")).rowcount == 1
    with engine.connect() as connection:
        connection.execute(sqlalchemy.delete(Customer))
        connection.rollback()
        assert connection.scalar(select(func.count(Customer.id))) == 1
    for level in ("SERIALIZABLE", "READ COMMITTED", "AUTOCOMMIT"):
        with engine.connect().execution_options(isolation_level=level) as connection:
            assert connection.get_isolation_level() == ("REPEATABLE READ" if level == "AUTOCOMMIT" else level)
            assert connection.scalar(text("SELECT name FROM customers")) == "a"
    with engine.connect() as connection, pytest.raises(ProgrammingError):
        connection.execute(text("SELECT FROM customers"))

    seen = inspect(engine)
    assert set(seen.get_table_names()) == {"customers", "orders", "fixed", "things"}
    assert [key["referred_table"] for key in seen.get_foreign_keys("orders")] == ["customers"]
    assert {index["name"] for index in seen.get_indexes("orders")} >= {"ix_orders_count"}
    reflected = sqlalchemy.Table("customers", sqlalchemy.MetaData(), autoload_with=engine)
    assert [column.name for column in reflected.columns] == ["id", "name", "credit", "photo"]


# Of mysql-connector-python's errors SQLAlchemy does not know this one, with or without the daemon.
KNOWN = pytest.mark.parametrize("engine_of", sorted(DRIVERS.keys() - {"mysqlconnector"}), indirect=True)


@KNOWN
def test_a_dead_connection_is_seen_as_such_and_replaced(site: Site, engine_of: Make) -> None:
    engine = engine_of(site)
    disconnects = []

    @event.listens_for(engine, "handle_error")
    def note(context: Any) -> None:
        disconnects.append(context.is_disconnect)

    with engine.connect() as connection:
        number = connection.scalar(text("SELECT CONNECTION_ID()"))
        assert number >= 2**31
        kill(site, number)
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT name FROM customers"))
        assert caught.value.connection_invalidated
    assert disconnects == [True]

    with engine.connect() as connection:
        number = connection.scalar(text("SELECT CONNECTION_ID()"))
    kill(site, number)
    with engine.connect() as connection:  # pool_pre_ping finds it dead and takes another one
        assert connection.scalar(text("SELECT CONNECTION_ID()")) > number


@KNOWN
def test_a_server_s_end_of_a_transaction_is_a_disconnect(site: Site, engine_of: Make) -> None:
    """The server's own connection is killed behind the daemon's back, in the middle of a transaction."""
    engine = engine_of(site)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.insert(Customer), {"name": "lost"})
        transactions = site.manager.query(
            "SELECT trx_mysql_thread_id AS id FROM information_schema.INNODB_TRX WHERE trx_rows_modified > 0"
        )
        site.manager.query(f"KILL {transactions[0]['id']}")
        with pytest.raises(DBAPIError) as caught:
            connection.execute(sqlalchemy.insert(Customer), {"name": "not alone"})
        assert caught.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.scalar(select(func.count(Customer.id))) == 0


def kill(site: Site, number: int) -> None:
    with site.daemon.connect() as other:
        other.cursor().execute(f"KILL {number}")
