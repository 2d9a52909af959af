// Package inventory packs the list of objects that a PolicySync applied: twenty thousand objects with long names, and
// as many again while all are renamed, do not fit into one object of the API server as they are.
//
// Everything here is pure and safe for concurrent use.
package inventory
