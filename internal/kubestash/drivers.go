package kubestash

// Driver is a driver of KubeStash that Cairn lacks.
type Driver struct {
	// Name of the driver in a task of an Addon.
	Name string
	// Says what to use instead. The CRDs refuse the driver with this sentence.
	Says string
}

const (
	noRestic = "Cairn keeps no data with restic: write driver: Kopia. What restic wrote is restored with restic itself and then backed up anew"
	noTool   = "the driver is Kopia or VolumeSnapshotter. Tools of one database (WalG, Solr, Medusa, ClickHouseBackup, Neo4jAdmin) keep backups in formats of their own: " +
		"write driver: Kopia and a Function that dumps the data for the mover"
)

// Drivers lists the refused drivers of KubeStash. The remaining one, VolumeSnapshotter, means the same in both systems.
var Drivers = []Driver{
	{"Restic", noRestic},
	{"WalG", noTool}, {"Solr", noTool}, {"Medusa", noTool}, {"ClickHouseBackup", noTool}, {"Neo4jAdmin", noTool},
}
