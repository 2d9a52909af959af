// Package rdb turns an RDB file, the dump of a Redis or Valkey server, into commands that restore it. redis-cli
// --pipe reads them.
//
// Values are not decoded. The command RESTORE accepts a value as it stands in the file, so every type is restored
// exactly: lists, sets, streams with their consumer groups, hashes whose fields expire, and values of modules that
// the server has. The package only needs to know where a value ends. Anything that no command can restore, or that is
// unknown, is an error and never left out. The server must know the file's version: a server that is older than the
// dumped one refuses every key.
//
// The package is pure and has no state between calls. The largest value bounds the memory of Commands; Check keeps no
// value.
package rdb
