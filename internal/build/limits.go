package build

// Limits bound one build. Zero fields get the default in brackets.
type Limits struct {
	FileBytes int64 // of one file (10 MiB)
	Bytes     int64 // of all files that are read (50 MiB)
	Files     int   // that are read (10,000)
	Documents int   // of all files (20,000, as many as an inventory holds)
	Depth     int   // of nesting in one document (64)
	Aliases   int   // of YAML in one document (100)
	Nodes     int   // values of one document after its aliases are expanded (200,000)
	AllNodes  int   // the same of all documents together (1,000,000)
	Targets   int   // of all BackupBatches, each with as many as it may be expanded to (20,000)
	Work      int   // of kustomize, see reach (10,000,000: a kustomization of 3,000 objects)
}

// maxFindings is how many findings are kept; of those beyond only the number is. maxText is the longest message and field.
const (
	maxFindings = 1000
	maxText     = 500
)

// separatorsPerNode times Nodes is how many separators a file may have. They bound what the parser allocates, which is some
// hundred bytes for each, before there is a node to count.
const separatorsPerNode = 2

func (l Limits) withDefaults() Limits {
	if l.FileBytes <= 0 {
		l.FileBytes = 10 << 20
	}
	if l.Bytes <= 0 {
		l.Bytes = 50 << 20
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Files, 10_000}, {&l.Documents, 20_000}, {&l.Depth, 64}, {&l.Aliases, 100}, {&l.Nodes, 200_000}, {&l.AllNodes, 1_000_000}, {&l.Targets, 20_000}, {&l.Work, 10_000_000}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}
