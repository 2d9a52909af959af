// Package ledger turns what ended in a cluster into files for Git: the records, the message of their commit, and the
// page that people read. It also packs the outbox in which records wait, and reads the history back.
//
// Everything here is a pure function of its arguments and safe for concurrent use. The same object always gives the
// same path and the same bytes, in every process. So a record can be collected and pushed any number of times and is
// still present once.
//
// Paths in this package are relative to the cluster's folder, which Folder returns.
package ledger

import (
	"path"
	"strings"
)

// Files and folders below a cluster's folder.
const (
	// RecordsDir holds the records. Files in it are only added.
	RecordsDir = "records"
	// ClusterFile says which cluster owns the folder.
	ClusterFile = "cluster.yaml"
	// PageFile is the page that people read.
	PageFile = "STATUS.md"
)

// Folder returns the folder of a cluster in the branch, without a slash at either end. prefix is a Ledger's
// spec.path; "", "." and "./" mean the root.
func Folder(prefix, cluster string) string {
	return strings.TrimPrefix(path.Join("/", prefix, "clusters", cluster), "/")
}
