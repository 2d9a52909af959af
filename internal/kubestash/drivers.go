package kubestash

// Driver is a driver of KubeStash that Cairn lacks.
type Driver struct {
	// Name of the driver in a task of an Addon.
	Name string
	// Says what to use instead. The CRDs refuse the driver with this sentence.
	Says string
}

const (
	noRestic = "Cairn does not store data with restic: set driver: Kopia. Restore data that restic wrote with restic " +
		"itself, then back it up anew"
	noTool = "the driver must be Kopia or VolumeSnapshotter. Tools for one database (WalG, Solr, Medusa, " +
		"ClickHouseBackup, Neo4jAdmin) have backup formats of their own: " +
		"set driver: Kopia and use a Function that dumps the data for the mover"
)

// Drivers lists the refused drivers of KubeStash. The remaining one, VolumeSnapshotter, means the same in both systems.
var Drivers = []Driver{
	{"Restic", noRestic},
	{"WalG", noTool},
	{"Solr", noTool},
	{"Medusa", noTool},
	{"ClickHouseBackup", noTool},
	{"Neo4jAdmin", noTool},
}
