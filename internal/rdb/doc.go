// Package rdb turns an RDB file, the dump of a Redis or Valkey server, into commands that restore it: redis-cli --pipe reads them.
//
// A value is not taken apart. The command RESTORE takes it as it stands in the file, so that every type comes back exactly: lists,
// sets, streams with their consumer groups, hashes whose fields expire, values of modules that the server has. Only where a value
// ends must be known here. What no command can restore, and what is not known, is an error, never left out. The server must know
// the file's version: one that is older than the server that was dumped refuses every key.
//
// The package is pure; memory is bounded by the largest value.
package rdb
