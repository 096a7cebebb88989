"""The HTTP side: POST /create, GET /read/<id>, PUT /update/<id>, DELETE /delete/<id>.

Run by any WSGI server: ``gunicorn 'tests.apps.customers.api:create_app()'``. 400 says what is wrong with the input,
404 is a customer that is not there, 409 an email that another one has. 503 is a database that did not answer: a write
may then have been done or not.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pymysql
from flask import Flask, Response, request, url_for
from pymysql.constants import ER
from werkzeug.exceptions import BadRequest, Conflict, HTTPException, NotFound

from tests.apps.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(100) NOT NULL,
    email VARCHAR(254) NOT NULL UNIQUE,
    phone VARCHAR(32) NULL,
    created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
)
"""
PATTERNS = {
    "name": re.compile(r"\S(.{0,98}\S)?"),
    "email": re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}"),
    "phone": re.compile(r"\+?[0-9][0-9 ()/.-]{2,30}"),
}
FIELDS = tuple(PATTERNS)


def create_app() -> Flask:
    app = Flask(__name__)
    database = Database(os.environ)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024

    @app.post("/create")
    def create() -> tuple[dict[str, int], int, dict[str, str]]:
        sql = "INSERT INTO customers (name, email, phone) VALUES (%s, %s, %s)"
        _, number = database.write(sql, _customer())
        return {"id": number}, 201, {"Location": url_for("read", number=number)}

    @app.get("/read/<int:number>")
    def read(number: int) -> dict[str, Any]:
        sql = "SELECT id, name, email, phone, created_at, updated_at FROM customers WHERE id = %s"
        customer = database.read(sql, (number,))
        if customer is None:
            raise NotFound(f"no customer {number}")
        times = {name: customer[name].isoformat() for name in ("created_at", "updated_at")}
        return customer | times

    @app.put("/update/<int:number>")
    def update(number: int) -> dict[str, int]:
        sql = "UPDATE customers SET name = %s, email = %s, phone = %s WHERE id = %s"
        found, _ = database.write(sql, (*_customer(), number))
        if not found:
            raise NotFound(f"no customer {number}")
        return {"id": number}

    @app.delete("/delete/<int:number>")
    def delete(number: int) -> tuple[str, int]:
        found, _ = database.write("DELETE FROM customers WHERE id = %s", (number,))
        if not found:
            raise NotFound(f"no customer {number}")
        return "", 204

    @app.errorhandler(pymysql.IntegrityError)
    def duplicate(error: pymysql.IntegrityError) -> tuple[dict[str, str], int]:
        if error.args[0] != ER.DUP_ENTRY:
            raise error
        return explain(Conflict("another customer has this email"))

    @app.errorhandler(pymysql.OperationalError)
    @app.errorhandler(pymysql.InterfaceError)
    def unavailable(error: pymysql.MySQLError) -> tuple[dict[str, str], int, dict[str, str]]:
        app.logger.warning("the database: %s", error)
        return {"error": "the database did not answer"}, 503, {"Retry-After": "1"}

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> tuple[dict[str, str], int]:
        return {"error": error.description or error.name}, error.code or 500

    @app.after_request
    def name_process(response: Response) -> Response:
        """Which process answered, so that a client can tell whether it has read from another one."""
        response.headers["X-Process"] = str(os.getpid())
        return response

    return app


def _customer() -> tuple[str | None, ...]:
    """Name, email and phone from the body; BadRequest says what is wrong."""
    body = request.get_json()
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if unknown := body.keys() - PATTERNS.keys():
        raise BadRequest(f"unknown: {', '.join(sorted(unknown))}")
    for field, pattern in PATTERNS.items():
        value = body.get(field)
        if field == "phone" and value is None:
            continue
        if not isinstance(value, str) or not pattern.fullmatch(value) or not _is_text(value):
            raise BadRequest(f"{field} is missing or no valid {field}")
    return tuple(body.get(field) for field in FIELDS)


def _is_text(value: str) -> bool:
    """Whether it can be stored: JSON may name halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
