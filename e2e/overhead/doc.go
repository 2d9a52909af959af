// Package overhead measures on a real cluster how long a run with almost nothing to move takes: from its slot until its
// status says that it has succeeded. "make bench" runs it, and K8up on the same cluster beside it.
package overhead
