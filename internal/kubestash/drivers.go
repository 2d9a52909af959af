package kubestash

// Driver of KubeStash that Cairn does not have.
type Driver struct {
	// Name as it stands in a task of an Addon.
	Name string
	// Says what to use instead. The CRDs refuse the driver with this sentence.
	Says string
}

const (
	noRestic    = "Cairn keeps no data with restic: write driver: Kopia. What restic wrote is restored with restic itself and then backed up anew"
	noSnapshots = "Cairn makes no VolumeSnapshots: write driver: Kopia and a task that reads the files of the volume, as logical-backup of pvc-addon does"
	noTool      = "the driver is Kopia. Tools of one database (WalG, Solr, Medusa, ClickHouseBackup, Neo4jAdmin) keep backups in formats of their own: " +
		"write driver: Kopia and a Function that dumps the data for the mover"
)

// Drivers are all that KubeStash has. Each is refused.
var Drivers = []Driver{
	{"Restic", noRestic}, {"VolumeSnapshotter", noSnapshots},
	{"WalG", noTool}, {"Solr", noTool}, {"Medusa", noTool}, {"ClickHouseBackup", noTool}, {"Neo4jAdmin", noTool},
}
