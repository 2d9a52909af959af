package catalog

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// DatabaseInfo is what the object behind a database target reveals about the database.
type DatabaseInfo struct {
	// Found reports whether the object exists.
	Found bool
	// Type of the database as the object has it, such as kubedb.com/postgres or servicebinding.io/postgresql; empty if
	// it has none.
	Type string
}

// databaseAddons maps types of databases, in lower case and without their group, to Addons.
var databaseAddons = map[string]string{
	"postgres": postgresAddon, "postgresql": postgresAddon, "mariadb": mariaDBAddon, "mysql": mySQLAddon,
	"redis": redisAddon,
}

// RevealsDatabaseType reports whether the object behind a target can reveal the type of its database: an AppBinding or
// a Secret. Their kind alone does not show the type, and only a cluster has the object.
func RevealsDatabaseType(target v1alpha1.TypedObjectReference) bool {
	return target.IsDatabase() && (target.Kind == v1alpha1.KindAppBinding || target.Kind == v1alpha1.KindSecret)
}

// AddonForDatabaseType returns the built-in Addon for a type of database, or "".
func AddonForDatabaseType(databaseType string) string {
	return databaseAddons[strings.ToLower(databaseType[strings.LastIndex(databaseType, "/")+1:])]
}

// AddonOf returns the Addon for a target whose policy names none, or the reason why there is none. The target's kind
// decides; only if the kind leaves the type open, AddonOf calls ask about the object.
func AddonOf(target v1alpha1.TypedObjectReference, ask func() DatabaseInfo) (string, *v1alpha1.ResolvedError) {
	if name := InferredAddon(target); name != "" {
		return name, nil
	}
	if !RevealsDatabaseType(target) {
		return "", &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonAddonNotFound, Message: NoAddonMessage(target)}
	}
	info := ask()
	name := AddonForDatabaseType(info.Type)
	switch {
	case name != "":
		return name, nil
	case !info.Found:
		return "", &v1alpha1.ResolvedError{
			Reason: v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("there is no %s to tell the type of the database: create it, or name the Addon too",
				target),
		}
	case info.Type == "":
		return "",
			&v1alpha1.ResolvedError{Reason: v1alpha1.ReasonAddonNotFound, Message: NoAddonMessage(target) + ". " +
				typesOf(target)}
	}
	return "", &v1alpha1.ResolvedError{
		Reason: v1alpha1.ReasonAddonNotFound,
		Message: fmt.Sprintf("%s has the type %.64q, for which there is no built-in Addon: name the Addon with its "+
			"task. %s", target, info.Type, typesOf(target)),
	}
}

// UnknownDatabaseType returns the message about a target whose Addon cannot be chosen without a cluster.
func UnknownDatabaseType(target v1alpha1.TypedObjectReference) string {
	return fmt.Sprintf("only the cluster can tell the type of the database behind %s, and whether there is an Addon "+
		"for it. %s", target, typesOf(target))
}

// typesOf lists the types for which no Addon needs to be named.
func typesOf(target v1alpha1.TypedObjectReference) string {
	where := "spec.type as kubedb.com/redis"
	if target.Kind == v1alpha1.KindSecret {
		where = "the Secret's type as servicebinding.io/redis"
	}
	return fmt.Sprintf("Known types are postgresql, mariadb, mysql and redis, in %s", where)
}

// Addons and the task that back up a target whose policy names none.
const (
	VolumeAddon   = "pvc-addon"
	WorkloadAddon = "workload-addon"
	postgresAddon = "postgres-addon"
	mariaDBAddon  = "mariadb-addon"
	mySQLAddon    = "mysql-addon"
	redisAddon    = "redis-addon"
	BackupTask    = "logical-backup"
)

// InferredAddon returns the Addon for a target whose policy names none; "" if the target's kind does not decide.
func InferredAddon(target v1alpha1.TypedObjectReference) string {
	switch {
	case target.Kind == v1alpha1.KindPersistentVolumeClaim:
		return VolumeAddon
	case target.Kind == v1alpha1.KindCluster && target.IsDatabase():
		return postgresAddon
	case target.IsDatabase():
		return ""
	}
	return WorkloadAddon
}

// NoAddonMessage returns the message about a target for which InferredAddon returns "".
func NoAddonMessage(target v1alpha1.TypedObjectReference) string {
	return fmt.Sprintf("%s does not tell the type of its database: name the Addon, such as postgres-addon or "+
		"mariadb-addon, with its task", target)
}
