package policy

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// Told is what the object behind a target that is a database says of that.
type Told struct {
	// Found says whether the object exists.
	Found bool
	// Type is the type of the database as the object has it, such as kubedb.com/postgres or servicebinding.io/postgresql; empty is none.
	Type string
}

// databaseAddons are the Addons for the types of databases, in lower case and without their group.
var databaseAddons = map[string]string{
	"postgres": PostgresAddon, "postgresql": PostgresAddon, "mariadb": MariaDBAddon, "mysql": MySQLAddon, "redis": RedisAddon,
}

// Tells says whether the object behind a target may say which database it is of: an AppBinding or a Secret. Of them alone the kind
// says nothing, and a cluster more than a file.
func Tells(target v1alpha1.TypedObjectReference) bool {
	return target.IsDatabase() && (target.Kind == v1alpha1.KindAppBinding || target.Kind == v1alpha1.KindSecret)
}

// ToldAddon is the Addon for a type of database, empty where none is built in.
func ToldAddon(databaseType string) string {
	return databaseAddons[strings.ToLower(databaseType[strings.LastIndex(databaseType, "/")+1:])]
}

// AddonOf is the Addon for a target whose policy names none, and what to do where there is none: its kind says it, or the object
// itself, which is asked for only then.
func AddonOf(target v1alpha1.TypedObjectReference, ask func() Told) (string, *v1alpha1.ResolvedError) {
	if name := InferredAddon(target); name != "" {
		return name, nil
	}
	if !Tells(target) {
		return "", &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonAddonNotFound, Message: NoAddon(target)}
	}
	told := ask()
	name := ToldAddon(told.Type)
	switch {
	case name != "":
		return name, nil
	case !told.Found:
		return "", &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonTargetNotFound,
			Message: fmt.Sprintf("there is no %s, which would say which database it is of: make it, or name the Addon too", target)}
	case told.Type == "":
		return "", &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonAddonNotFound, Message: NoAddon(target) + ". " + typesOf(target)}
	}
	return "", &v1alpha1.ResolvedError{Reason: v1alpha1.ReasonAddonNotFound,
		Message: fmt.Sprintf("%s is of the type %.64q, for which no Addon is built in: name the Addon with its task. %s", target, told.Type, typesOf(target))}
}

// OnlyClusterTells is what can be said of the Addon of such a target without a cluster.
func OnlyClusterTells(target v1alpha1.TypedObjectReference) string {
	return fmt.Sprintf("only the cluster can tell which database %s is of, and whether there is an Addon for it. %s", target, typesOf(target))
}

// typesOf says which types need no Addon to be named.
func typesOf(target v1alpha1.TypedObjectReference) string {
	where := "spec.type as kubedb.com/redis"
	if target.Kind == v1alpha1.KindSecret {
		where = "the Secret's type as servicebinding.io/redis"
	}
	return fmt.Sprintf("Known types are postgresql, mariadb, mysql and redis, in %s", where)
}
