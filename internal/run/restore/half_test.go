package restore

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// What a restore leaves half written stays marked, whatever comes next, until a restore ends well.
func TestAMarkOfAHalfRestoredClaimStaysUntilARestoreEndsWell(t *testing.T) {
	const target types.UID = "claim"
	failed := v1alpha1.RestoreSessionFailed
	succeeded := v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded}
	broken := v1alpha1.RestoredComponent{Phase: failed, Reason: v1alpha1.ReasonUnreachable}
	refused := v1alpha1.RestoredComponent{Phase: failed, Reason: v1alpha1.ReasonVolumeNotEmpty, TargetUntouched: true}
	// It does not say whether a mover had begun.
	former := v1alpha1.RestoredComponent{Phase: failed, Reason: v1alpha1.ReasonUnschedulable}
	for name, tt := range map[string]struct {
		ends []v1alpha1.RestoredComponent
		want string
	}{
		"it succeeded":                  {[]v1alpha1.RestoredComponent{succeeded}, ""},
		"it broke off":                  {[]v1alpha1.RestoredComponent{broken}, "first"},
		"it wrote nothing":              {[]v1alpha1.RestoredComponent{refused}, ""},
		"an earlier version ended it":   {[]v1alpha1.RestoredComponent{former}, "first"},
		"the next one broke off, too":   {[]v1alpha1.RestoredComponent{broken, broken}, "first"},
		"the next one wrote nothing":    {[]v1alpha1.RestoredComponent{broken, refused}, "first"},
		"the next one succeeded":        {[]v1alpha1.RestoredComponent{broken, succeeded}, ""},
		"only the next one wrote":       {[]v1alpha1.RestoredComponent{refused, broken}, "next"},
		"the next one broke a good one": {[]v1alpha1.RestoredComponent{succeeded, broken}, "next"},
	} {
		t.Run(name, func(t *testing.T) {
			g, annotations := NewWithT(t), map[string]string{}
			for i, c := range tt.ends {
				s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{
					Name: []string{"first", "next"}[i], UID: types.UID([]string{"1", "2"}[i]),
				}}
				Take(annotations, s, target)
				g.Expect(HalfRestored(annotations, target)).NotTo(BeEmpty(), "it can be killed at any moment")
				Release(annotations, s, nil, &v1alpha1.RestoreSessionStatus{
					Attempt: 1,
					Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
						Volumes: []v1alpha1.ResolvedRestoreVolume{
							{Component: "pvc", ClaimName: "data"}, {Component: "more", ClaimName: "other"},
						},
					}}},
					Components: map[string]v1alpha1.RestoredComponent{"pvc": c, "more": broken},
				}, "data", target)
			}
			g.Expect(HalfRestored(annotations, target)).To(Equal(tt.want))
			g.Expect(HalfRestored(annotations, "another claim")).To(BeEmpty(), "it was created again from an export")
			g.Expect(annotations).NotTo(HaveKey(v1alpha1.AnnotationRestoring))
		})
	}
}

// A claim that a restore makes holds what the restore was to write, and nothing else.
func TestAClaimThatARestoreMadeIsHalfRestoredOnlyIfTheRestoreBrokeOff(t *testing.T) {
	for name, tt := range map[string]struct {
		ends v1alpha1.RestoredComponent
		want string
	}{
		"all that was asked for": {v1alpha1.RestoredComponent{Phase: v1alpha1.RestoreSessionSucceeded}, ""},
		"its first pod gets the data": {v1alpha1.RestoredComponent{
			Phase: v1alpha1.RestoreSessionUnknown, Reason: v1alpha1.ReasonVolumeNotBound,
		}, ""},
		"it broke off": {v1alpha1.RestoredComponent{
			Phase: v1alpha1.RestoreSessionFailed, Reason: v1alpha1.ReasonUnreachable,
		}, "back"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			annotations := map[string]string{
				v1alpha1.AnnotationRestoring:    "1",
				v1alpha1.AnnotationHalfRestored: "of-another/2/claim-that-was-exported",
			}
			s := &v1alpha1.RestoreSession{
				ObjectMeta: metav1.ObjectMeta{Name: "back", UID: "1"},
				Spec: v1alpha1.RestoreSessionSpec{Addon: &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
					Params: catalog.NewParams(map[string]string{"include": "/2025"}),
				}}}},
			}
			Release(annotations, s, nil, &v1alpha1.RestoreSessionStatus{
				Attempt: 1,
				Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
					Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "pvc", ClaimName: "made"}},
				}}},
				Components: map[string]v1alpha1.RestoredComponent{"pvc": tt.ends},
			}, "made", "made-1")
			g.Expect(HalfRestored(annotations, "made-1")).To(Equal(tt.want))
		})
	}
}

// Somebody brings back what is urgent. The rest is as the restore before has left it.
func TestARestoreOfAPartEndsNoMark(t *testing.T) {
	for name, tt := range map[string]struct {
		spec  v1alpha1.RestoreSessionSpec
		claim string
		ends  bool
	}{
		"everything": {v1alpha1.RestoreSessionSpec{OverwritePolicy: v1alpha1.OverwriteAlways}, "data", true},
		"a directory": {v1alpha1.RestoreSessionSpec{Addon: &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
			Params: catalog.NewParams(map[string]string{"include": "/invoices"}),
		}}}}, "data", false},
		"all but a directory": {v1alpha1.RestoreSessionSpec{Addon: &v1alpha1.AddonInfo{Tasks: []v1alpha1.TaskReference{{
			Params: catalog.NewParams(map[string]string{"exclude": "/cache"}),
		}}}}, "data", false},
		"what is missing": {v1alpha1.RestoreSessionSpec{OverwritePolicy: v1alpha1.OverwriteNever}, "data", false},
		"one pod of a workload": {v1alpha1.RestoreSessionSpec{
			DataSource: &v1alpha1.RestoreDataSource{Components: []string{"pvc"}},
		}, "data", true},
		"one database of a server": {v1alpha1.RestoreSessionSpec{
			DataSource: &v1alpha1.RestoreDataSource{Components: []string{"pvc"}},
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			annotations := map[string]string{v1alpha1.AnnotationHalfRestored: "first/1/target"}
			s := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "next", UID: "2"}, Spec: tt.spec}
			Take(annotations, s, "target")
			Release(annotations, s, nil, &v1alpha1.RestoreSessionStatus{
				Attempt: 1,
				Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
					Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "pvc", ClaimName: tt.claim}},
				}}},
				Components: map[string]v1alpha1.RestoredComponent{"pvc": {Phase: v1alpha1.RestoreSessionSucceeded}},
			}, tt.claim, "target")
			g.Expect(HalfRestored(annotations, "target") == "").To(Equal(tt.ends))
		})
	}
}

// The client of a database can be told to leave out most of the dump.
func TestARestoreWhoseClientSelectsEndsNoMark(t *testing.T) {
	for name, tt := range map[string]struct {
		command string
		args    []string
		ends    bool
	}{
		"everything":                       {"mariadb", nil, true},
		"options of the connection":        {"mariadb", []string{"--skip-ssl", "-P3307", "-n"}, true},
		"one database of MariaDB":          {"mariadb", []string{"--one-database", "shop"}, false},
		"one database of MySQL, in short":  {"/usr/bin/mysql", []string{"-o", "shop"}, false},
		"one database, with an underscore": {"mysql", []string{"--one_data", "shop"}, false},
		"without owners":                   {"pg_restore", []string{"--no-owner", "--no-privileges", "-Ox"}, true},
		"one table":                        {"pg_restore", []string{"--no-owner", "--table=invoices"}, false},
		"one table, in short":              {"pg_restore", []string{"-tinvoices"}, false},
		"no rows":                          {"pg_restore", []string{"--schema-only"}, false},
		"the option of another client":     {"psql", []string{"-t"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			g, stream := NewWithT(t), &v1alpha1.ResolvedStream{Command: []string{tt.command, "--quiet"}}
			for _, value := range tt.args {
				stream.Args = append(stream.Args, v1alpha1.ResolvedStreamArgument{Value: value})
			}
			status := &v1alpha1.RestoreSessionStatus{
				Attempt: 1,
				Resolved: &v1alpha1.ResolvedRestore{Hosts: []v1alpha1.ResolvedRestoreHost{{
					Volumes: []v1alpha1.ResolvedRestoreVolume{{Component: "dump", Stream: stream}},
				}}},
				Components: map[string]v1alpha1.RestoredComponent{"dump": {Phase: v1alpha1.RestoreSessionSucceeded}},
			}
			annotations := map[string]string{v1alpha1.AnnotationHalfRestored: "first/1/target"}
			next := &v1alpha1.RestoreSession{ObjectMeta: metav1.ObjectMeta{Name: "next", UID: "2"}}
			Take(annotations, next, "target")
			Release(annotations, next, nil, status, "", "target")
			g.Expect(HalfRestored(annotations, "target") == "").To(Equal(tt.ends))

			annotations = map[string]string{}
			Take(annotations, next, "target")
			Release(annotations, next, nil, status, "", "target")
			g.Expect(HalfRestored(annotations, "target")).To(BeEmpty(), "it has written all that it was to write")
		})
	}
}

// Whoever can annotate a claim or a Snapshot chooses the text of the mark.
func TestAMarkThatNamesNoRestoreGetsIntoNoMessage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	const forged = "x did.\n\nALL IS WELL"
	claim := map[string]string{v1alpha1.AnnotationHalfRestored: forged + "/u/target"}
	g.Expect(HalfRestored(claim, "target")).To(Equal("unknown"))
	s := v1alpha1.Snapshot{}
	s.Annotations = map[string]string{v1alpha1.AnnotationHalfRestored: forged}
	g.Expect(HalfRestoredOf(&s)).To(And(ContainSubstring("RestoreSession unknown "), Not(ContainSubstring("WELL"))))
}
