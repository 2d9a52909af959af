package build

// What a build takes at most in bytes, within the default Limits: a value of a file some hundred bytes, and kustomize
// as much again several times.
const (
	filesMemory     = 160 << 20
	kustomizeMemory = 256 << 20
)

// Limits bound one build. Zero fields get the default in brackets.
type Limits struct {
	FileBytes int64 // of one file (10 MiB)
	Bytes     int64 // of all files together (20 MiB)
	Files     int   // number of files (10,000)
	Documents int   // in all files (20,000, the size of an inventory)
	Depth     int   // nesting in one document (64)
	Aliases   int   // YAML aliases in one document (100)
	Nodes     int   // values in one document with its aliases expanded (200,000)
	AllNodes  int   // the same in all documents together (400,000)
	Kustomize int   // values that kustomize gets, each base as often as it is included (80,000)
	Targets   int   // of all BackupBatches, each with its greatest possible expansion (20,000)
	Work      int   // comparisons by kustomize, see kustomizeCost (10,000,000: a kustomization of 3,000 objects)
}

// maxFindings is how many findings are kept; the others are only counted. maxText is the longest message and field.
const (
	maxFindings = 1000
	maxText     = 500
)

// separatorsPerNode times Nodes is how many separators a file can have. It bounds what the parser allocates, some
// hundred bytes for each separator, before there is a node to count.
const separatorsPerNode = 2

func (l Limits) withDefaults() Limits {
	if l.FileBytes <= 0 {
		l.FileBytes = 10 << 20
	}
	if l.Bytes <= 0 {
		l.Bytes = 20 << 20
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.Files, 10_000},
		{&l.Documents, 20_000},
		{&l.Depth, 64},
		{&l.Aliases, 100},
		{&l.Nodes, 200_000},
		{&l.AllNodes, 400_000},
		{&l.Kustomize, 80_000},
		{&l.Targets, 20_000},
		{&l.Work, 10_000_000},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}
