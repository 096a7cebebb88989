-- One statement over and over, for `mysqlproxy bench`, which sysbench runs with this file.

sysbench.cmdline.options = {
    statement = {"what to run; NEW becomes a name that no statement had before", "SELECT 1"},
    reconnect = {"log in for each one, and quit", false},
}

local count, started = 0, os.time()

function thread_init()
    driver = sysbench.sql.driver()
    if not sysbench.opt.reconnect then
        connection = driver:connect()
    end
end

function event()
    if sysbench.opt.reconnect then
        connection = driver:connect()
    end
    count = count + 1
    local name = string.format("n%d_%d_%d", started, sysbench.tid, count)
    connection:query((sysbench.opt.statement:gsub("NEW", name)))
    if sysbench.opt.reconnect then
        connection:disconnect()
    end
end
