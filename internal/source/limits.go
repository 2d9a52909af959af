package source

import "github.com/cairn-backup/cairn/internal/gitstore"

// Limits bound one checkout. Zero fields get the default in brackets.
type Limits struct {
	Bytes     int64 // of all files together (100 MiB)
	Files     int   // files, directories and links (20,000)
	FileBytes int64 // of one file (10 MiB)
	// Reserve is asked before work that takes much memory. Nil means not to ask.
	Reserve gitstore.Reserve
}

// Further bounds on what a server can make us do, beside the size of a checkout.
const (
	// objectMargin is added to FileBytes for the size up to which an object is read, so that an error can name a file.
	// go-git holds some objects in memory.
	objectMargin = 4 << 20
	// maxObjects is how many objects a download has, with its history.
	maxObjects = 200_000
	// maxTree and maxNames bound one directory, and the paths of all files, in bytes. Parsed, they take several times
	// as much.
	maxTree  = 8 << 20
	maxNames = 16 << 20
	// checkoutMemory is what a checkout takes at most, in bytes.
	checkoutMemory = 128 << 20
	// unpackFactor times Bytes bounds all objects together: if the server does not hand out commits by hash, history
	// is downloaded too.
	unpackFactor = 4
	// metadata is added for commits and directories, which the caller's limits do not count.
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
