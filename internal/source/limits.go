package source

// Limits bound one checkout. Zero fields get the default in brackets.
type Limits struct {
	Bytes     int64 // of all files together (100 MiB)
	Files     int   // files, directories and links (20,000)
	FileBytes int64 // of one file (10 MiB)
}

// Further bounds on what a server can make us do, beside the size of a checkout.
const (
	// objectFactor times FileBytes is the size up to which an object is read to find its name. go-git holds an object
	// in memory.
	objectFactor = 4
	// unpackFactor times Bytes bounds all objects together: if the server does not hand out commits by hash, history
	// is downloaded too.
	unpackFactor = 4
	// metadata is added to both for commits and directories, which the caller's limits do not count.
	metadata = 16 << 20
	// searchDepth is how many commits are searched for a revision that was resolved a moment ago and is no longer the
	// tip.
	searchDepth = 100
	// maxPath and maxTarget bound a path and the target of a link, in bytes.
	maxPath   = 4096
	maxTarget = 4096
	// maxHops is how many links one path can go through, as in Linux.
	maxHops = 40
)

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 100 << 20
	}
	if l.Files <= 0 {
		l.Files = 20_000
	}
	if l.FileBytes <= 0 {
		l.FileBytes = 10 << 20
	}
	return l
}
