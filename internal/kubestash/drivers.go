package kubestash

// Driver of KubeStash that Cairn does not have.
type Driver struct {
	// Name as it stands in a task of an Addon.
	Name string
	// Says what to use instead. The CRDs refuse the driver with this sentence.
	Says string
}

const (
	noRestic = "Cairn keeps no data with restic: write driver: Kopia. What restic wrote is restored with restic itself and then backed up anew"
	noTool   = "the driver is Kopia or VolumeSnapshotter. Tools of one database (WalG, Solr, Medusa, ClickHouseBackup, Neo4jAdmin) keep backups in formats of their own: " +
		"write driver: Kopia and a Function that dumps the data for the mover"
)

// Drivers are those of KubeStash that are refused. The one that is not, VolumeSnapshotter, means the same in both.
var Drivers = []Driver{
	{"Restic", noRestic},
	{"WalG", noTool}, {"Solr", noTool}, {"Medusa", noTool}, {"ClickHouseBackup", noTool}, {"Neo4jAdmin", noTool},
}
