/*
 * The formats of the rows, by database. A number rises with every change of rows that the version
 * before could not read; maint then has a step (maint/steps.c) that brings a database from the
 * number before to it. It stands in the database itself, so that copies and backups have it.
 */
#ifndef MS_DB_FORMAT_H
#define MS_DB_FORMAT_H

/* Of "store", "queue", "auth": what this program reads and writes. */
unsigned db_format_of(const char *name);

#endif
