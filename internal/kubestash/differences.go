package kubestash

// Difference describes what Cairn does differently from KubeStash with a field that Cairn's CRDs lack, and with
// everything below it.
type Difference struct {
	// Refused means that a manifest with the field is refused. Otherwise it is a field of status.
	Refused bool
	// Says what to use or where to look instead, as a sentence without a period.
	Says string
}

// difference returns the difference of a field, by the kind or shared type that has it, or nil.
func difference(owner, path string) *Difference {
	if d, ok := differences[owner+" "+path]; ok {
		return &d
	}
	return nil
}

func refused(says string) Difference   { return Difference{Refused: true, Says: says} }
func elsewhere(says string) Difference { return Difference{Says: says} }

const (
	useAClaim = "create a PersistentVolume and a PersistentVolumeClaim for it, and name the claim in " +
		"local.persistentVolumeClaim"
	holdsNothing   = "such a volume keeps no backups: use local.persistentVolumeClaim, local.nfs or a bucket"
	byOperator     = "a vendor's database operator restores its own objects; restore the data with an Addon"
	ofOneTool      = "the figures of a component are next to its phase, whatever tool made it"
	noVerification = "integrity shows the result of the weekly check; a restore with verify: true reads everything " +
		"back and shows the result in its own status"
	triggerHost = "leave it out: the pod that starts a run has no part of the host"
)

// differences by "<kind or shared type> <path>".
var differences = map[string]Difference{
	"BackupStorage spec.storage.local.awsElasticBlockStore": refused(useAClaim),
	"BackupStorage spec.storage.local.azureDisk":            refused(useAClaim),
	"BackupStorage spec.storage.local.azureFile":            refused(useAClaim),
	"BackupStorage spec.storage.local.cephfs":               refused(useAClaim),
	"BackupStorage spec.storage.local.cinder":               refused(useAClaim),
	"BackupStorage spec.storage.local.csi":                  refused(useAClaim),
	"BackupStorage spec.storage.local.fc":                   refused(useAClaim),
	"BackupStorage spec.storage.local.flexVolume":           refused(useAClaim),
	"BackupStorage spec.storage.local.flocker":              refused(useAClaim),
	"BackupStorage spec.storage.local.gcePersistentDisk":    refused(useAClaim),
	"BackupStorage spec.storage.local.glusterfs":            refused(useAClaim),
	"BackupStorage spec.storage.local.iscsi":                refused(useAClaim),
	"BackupStorage spec.storage.local.photonPersistentDisk": refused(useAClaim),
	"BackupStorage spec.storage.local.portworxVolume":       refused(useAClaim),
	"BackupStorage spec.storage.local.quobyte":              refused(useAClaim),
	"BackupStorage spec.storage.local.rbd":                  refused(useAClaim),
	"BackupStorage spec.storage.local.scaleIO":              refused(useAClaim),
	"BackupStorage spec.storage.local.storageos":            refused(useAClaim),
	"BackupStorage spec.storage.local.vsphereVolume":        refused(useAClaim),
	"BackupStorage spec.storage.local.configMap":            refused(holdsNothing),
	"BackupStorage spec.storage.local.downwardAPI":          refused(holdsNothing),
	"BackupStorage spec.storage.local.emptyDir":             refused(holdsNothing),
	"BackupStorage spec.storage.local.ephemeral":            refused(holdsNothing),
	"BackupStorage spec.storage.local.projected":            refused(holdsNothing),
	"BackupStorage spec.storage.local.secret":               refused(holdsNothing),

	"TriggerPodTemplate spec.hostIPC": refused(triggerHost),
	"TriggerPodTemplate spec.hostPID": refused(triggerHost),
	"TriggerPodTemplate spec.lifecycle": refused(
		"leave it out: use a hook of the session, or a step of an Addon's task"),
	"TriggerPodTemplate spec.livenessProbe": refused(
		"leave it out: scheduler.jobTemplate.activeDeadlineSeconds ends a pod that hangs"),
	"TriggerPodTemplate spec.podPlacementPolicy": refused("set affinity, nodeSelector or topologySpreadConstraints"),
	"TriggerPodTemplate spec.readinessProbe":     refused("leave it out: nothing calls the pod that starts a run"),
	"TriggerPodTemplate spec.shareProcessNamespace": refused(
		"leave it out: the pod that starts a run has one container"),
	"TriggerPodTemplate spec.volumeMounts": refused("leave them out: the pod that starts a run needs none"),

	"PodRuntimeSettings readinessGates": refused("leave them out: nothing calls what runs in a Job"),
	"PodRuntimeSettings serviceAccountAnnotations": refused(
		"annotate the ServiceAccount cairn-mover of the namespace yourself, which all movers there share and Cairn " +
			"does not change once it exists, or name your own account in serviceAccountName"),

	"BackupConfiguration spec.sessions[].repositories[].backupVerifier": refused(
		"leave it out, and set verify: true on a RestoreSession into a claim of its own"),
	"BackupConfiguration status.repositories[].verificationConfigured": elsewhere(
		"there is no verification by schedule"),
	"Repository status.componentPaths": elsewhere(
		"all components share one repository below spec.path"),
	"Snapshot status.verificationSession":                         elsewhere(noVerification),
	"Snapshot status.verificationStatus":                          elsewhere(noVerification),
	"RestoreSession status.components.<key>.progress.percentDone": elsewhere("the same field, as a number"),

	"RestoreSession spec.manifestOptions": refused(byOperator),

	"PartialPersistentVolumeClaim metadata.generateName": refused(
		"set metadata.name, so that a restore recognises its claim"),
	"PartialPersistentVolumeClaim metadata.namespace": refused(
		"leave it out: claims are made in the namespace of the RestoreSession"),
	"PartialPersistentVolumeClaim metadata.ownerReferences": refused(
		"leave them out: a restored claim has no owner, so that no deletion takes it along"),

	"Snapshot status.components.<key>.clickHouseStats": elsewhere(ofOneTool),
	"Snapshot status.components.<key>.logStats":        elsewhere(ofOneTool),
	"Snapshot status.components.<key>.medusaStats":     elsewhere(ofOneTool),
	"Snapshot status.components.<key>.neo4jStats":      elsewhere(ofOneTool),
	"Snapshot status.components.<key>.solrStats":       elsewhere(ofOneTool),
	"Snapshot status.components.<key>.walGStats":       elsewhere(ofOneTool),
	"Snapshot status.components.<key>.resticStats": elsewhere(
		"id, size, uploaded, startTime, completionTime and progress are in the component itself"),
	"Snapshot status.components.<key>.volumeSnapshotterStats[].hostPath": elsewhere(
		"a VolumeSnapshot is of a claim, which pvcName names"),
}
