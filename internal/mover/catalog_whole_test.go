package mover_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The image of PostGIS makes a template of its own. PostgreSQL drops no template, and no database with a subscription.
func TestAllOfPostgreSQLIsRestoredOverDatabasesThatCanNotBeDropped(t *testing.T) {
	t.Parallel()
	g, s, p := NewWithT(t), startPostgreSQL(t), withSecret(t)
	s.must(s.psql("postgres", `CREATE DATABASE "template 'post''gis" IS_TEMPLATE true; CREATE DATABASE app`))
	s.must(s.psql("app", "CREATE TABLE orders AS SELECT 1 AS n"))
	base := catalogTask{addon: "postgres-addon", server: s}
	made := base.backedUp(p, "all")
	s.must(s.psql("app", "UPDATE orders SET n = 2"))
	const templates = "SELECT datname FROM pg_database WHERE datistemplate ORDER BY 1"
	before := s.must(s.psql("postgres", templates))

	s.must(s.psql("app", "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect=false, slot_name=NONE)"))
	g.Expect(base.confirmed().restore(p, made)).To(And(HaveField("Reason", v1alpha1.ReasonLoadFailed),
		HaveField("Message", ContainSubstring("nothing was dropped: database app has the subscription s"))))
	g.Expect(s.psql("app", "SELECT n FROM orders")).To(Equal("2\n"))
	g.Expect(s.psql("postgres", templates)).To(Equal(before), "nothing was changed")
	s.must(s.psql("app", "DROP SUBSCRIPTION s"))

	base.confirmed().restored(p, made)
	g.Expect(s.psql("app", "SELECT n FROM orders")).To(Equal("1\n"))
	g.Expect(s.psql("postgres", templates)).To(Equal(before))

	s.must(s.psql("postgres", "DROP DATABASE app"))
	g.Expect(base.restore(p, made).Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), "the template can hold data")
}
