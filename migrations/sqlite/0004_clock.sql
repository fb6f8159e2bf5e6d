-- The database's time in microseconds of Unix time, under one name on both engines.
CREATE VIEW clock AS SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000 AS now;
