// Package ledger turns what ended in a cluster into what lies in Git: records,
// the message of the commit that brings them, the page that people read and the
// outbox in which they wait. It also reads the history back.
//
// Everything here is a function of its arguments. The same object gives the same
// path and the same bytes on every day and in every process, which is why a
// record can be collected and pushed any number of times and is there once.
//
// Paths in this package are relative to the cluster's folder; Folder gives that.
package ledger

import (
	"path"
	"strings"
)

// The files and folders below a cluster's folder.
const (
	// RecordsDir holds the records. Files in it are only added.
	RecordsDir = "records"
	// ClusterFile says which cluster owns the folder.
	ClusterFile = "cluster.yaml"
	// PageFile is the page that people read.
	PageFile = "STATUS.md"
)

// Folder is the folder of a cluster in the branch, without a slash at either end.
// Prefix is a Ledger's spec.path; "", "." and "./" are the top.
func Folder(prefix, cluster string) string {
	return strings.TrimPrefix(path.Join("/", prefix, "clusters", cluster), "/")
}
