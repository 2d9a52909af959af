package source

// Limits bound one checkout. Zero fields get the default in brackets.
type Limits struct {
	Bytes     int64 // of all files together (100 MiB)
	Files     int   // files, directories and links (20,000)
	FileBytes int64 // of one file (10 MiB)
}

// Beside what a checkout may hold, these bound what a server can make us do.
const (
	// objectFactor times FileBytes is the most that one object may have for us
	// to look for its name; go-git holds an object in memory.
	objectFactor = 4
	// unpackFactor times Bytes is the most that all objects may have: without
	// commits by hash, history comes along.
	unpackFactor = 4
	// metadata is added to both for commits and directories, which no limit of a
	// caller counts.
	metadata = 16 << 20
	// searchDepth is how many commits are searched for a revision that was
	// resolved a moment ago and is not the tip any more.
	searchDepth = 100
	// maxPath and maxTarget are bytes of a path and of a link's target.
	maxPath   = 4096
	maxTarget = 4096
	// maxHops is how many links one path may go through, as in Linux.
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
