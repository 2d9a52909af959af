package catalog_test

import (
	"maps"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/catalog/catalogtest"
)

// The search path of a restore becomes SQL.
func TestTheSearchPathOfARestore(t *testing.T) {
	t.Parallel()
	functions, addons := catalogtest.Shipped(t)
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	for _, addon := range addons {
		if addon.Name != "postgres-addon" {
			continue
		}
		for params, want := range map[string]string{
			`{}`: "", `{"searchPath":"public, \"a b\""}`: `public, "a b"`, `{"searchPath":"public; DROP TABLE t"}`: "refused",
		} {
			g := NewWithT(t)
			streams, refusal := catalog.Streams(addon, lookup, v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name: "logical-backup-restore", Params: &apiextensionsv1.JSON{Raw: []byte(params)},
			}}}, true, catalogtest.CatalogVariables(addon.Name), []string{"dump", "dump-shop"})
			if want == "refused" {
				g.Expect(refusal).To(HaveField("Reason", v1alpha1.ReasonInvalidParameters))
				continue
			}
			g.Expect(refusal).To(BeNil())
			g.Expect(streams).To(HaveEach(HaveField("Stream.SearchPath", want)))
			g.Expect(streams).To(HaveLen(2))
		}
	}
}

// A client with such an argument ends well, and has loaded nothing or not what it should.
func TestArgumentsWithWhichARestoreWouldNotBringBackTheDump(t *testing.T) {
	t.Parallel()
	functions, addons := catalogtest.Shipped(t)
	lookup := func(name string) *v1alpha1.Function { return functions[name] }
	for _, addon := range addons {
		all := map[string]bool{
			"--list": true, "-l": true, "--lis": true, "-xl": true, "-1 -l": true, "--no-owner": false,
			"--table=list": false, "-nl": false, "-tl": false, "--index=i": false, "-Pf": false,
			"--dbname=other": true, "-d other": true, "-dother": true, "-xd other": true, "--dbn other": true,
			"'--dbname=dbname=other sslmode=require'": true, "'--dbname=dbname=shop sslmode=require'": false,
			"--dbname=shop": false, "-1d": true, "-nd": false,
		}
		confirmed := map[string]bool{
			"--table=items": true, "--tab items": true, "-t items": true, "-Ot items": true, "-xTtr": true,
			"-Ii": true, "--function='f(int)'": true, "--trigger=tr": true, "--schema=t": false, "-nt": false,
			"--no-tablespaces": false, "-Ox1": false, "-jt": false,
		}
		client := map[string]bool{"--version": true, "-V": true, "--help=variables": true, "-?": true}
		one := "dump-shop"
		switch addon.Name {
		case "postgres-addon":
			maps.Copy(all, map[string]bool{"--version": false})
		case "mariadb-addon", "mysql-addon":
			all = map[string]bool{
				"--execute=x": true, "-ex": true, "-Ne x": true, "--exec x": true, "--loose-execute=x": true,
				"-f": false, "--init-command=x": false, "--database=exec": false, "-Dexec": false,
				"--skip-force":   false,
				"--one-database": true, "--one_data shop": true, "-o": true, "-o shop": true, "-vqo shop": true,
				"-oDshop": true, "--enable-one-database": true, "--loose-one-database=1": true, "-Do": false,
				"-To shop": true, "-Te x": true,
			}
			confirmed = nil
			maps.Copy(all, client)
		default:
			continue
		}
		refused := func(args, component, confirm string) bool {
			vars := catalogtest.CatalogVariables(addon.Name)
			vars.Confirm = confirm
			params := []byte(`{"args":"` + args + `"}`)
			_, refusal := catalog.Streams(addon, lookup, v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
				Name: "logical-backup-restore", Params: &apiextensionsv1.JSON{Raw: params},
			}}}, true, vars, []string{component})
			if refusal == nil {
				return false
			}
			NewWithT(t).Expect(refusal).To(And(HaveField("Reason", v1alpha1.ReasonInvalidParameters),
				HaveField("Message", Or(ContainSubstring("would load nothing: leave it out"),
					ContainSubstring("would load all databases of the dump, or none"),
					ContainSubstring("would drop more than it brings back"),
					ContainSubstring("would load the dump into another database")))))
			return true
		}
		for args, want := range all {
			NewWithT(t).Expect(refused(args, one, "")).To(Equal(want), "%s %s", addon.Name, args)
		}
		for args, want := range confirmed {
			NewWithT(t).Expect(refused(args, one, "uid")).To(Equal(want), "%s %s", addon.Name, args)
			NewWithT(t).Expect(refused(args, "dump", "uid")).To(BeFalse(), "%s %s", addon.Name, args)
		}
		for args := range client {
			NewWithT(t).Expect(refused(args, "dump", "")).To(BeTrue(), "%s %s", addon.Name, args)
		}
	}
}

// A Function of a user need not have what makes an argument of the client harmful.
func TestArgumentsThatHarmOnlyBesideOthers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		command []string
		args    string
		refused bool
	}{
		"one database":                       {[]string{"mariadb"}, "--one-database shop", false},
		"one database of a dump in binary":   {[]string{"mariadb", "--binary-mode"}, "--one-database shop", true},
		"one database, named by nobody else": {[]string{"pg_restore"}, "--dbname=shop", false},
		"two databases":                      {[]string{"psql"}, "--dbname=shop -d blog", true},
		"the same database twice":            {[]string{"psql"}, "--dbname=shop '--dbname=dbname=shop port=1'", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &v1alpha1.Function{Spec: v1alpha1.FunctionSpec{Image: "database", Stream: &v1alpha1.FunctionStream{
				Command: tc.command, Args: []v1alpha1.StreamArgument{{Value: tc.args, Words: true}}, FileName: "dump",
			}}}
			f.Name = "load"
			addon := &v1alpha1.Addon{Spec: v1alpha1.AddonSpec{RestoreTasks: []v1alpha1.Task{{
				Name: "load", Function: "load",
			}}}}
			_, refusal := catalog.Streams(addon, func(string) *v1alpha1.Function { return f },
				v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{Name: "load"}}}, true,
				catalogtest.CatalogVariables("postgres-addon"), []string{"dump"})
			NewWithT(t).Expect(refusal != nil).To(Equal(tc.refused), "%+v", refusal)
		})
	}
}
