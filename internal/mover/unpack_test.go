package mover_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/task"
)

// archived is a backup of a stream with that content.
func (p *pod) archived(snapshot string, content []byte) string {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "content")
	NewWithT(p.t).Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	return p.backUp(snapshot, dumpOf("exec cat "+file))
}

// archive returns the archive of a data directory with more entries.
func archive(t testing.TB, more ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, h := range append([]*tar.Header{
		{Name: "label", Typeflag: tar.TypeReg, Mode: 0o600, Size: 5},
		{Name: "base/", Typeflag: tar.TypeDir, Mode: 0o750},
		{Name: "base/1/", Typeflag: tar.TypeDir, Mode: 0o700},
		{Name: "base/1/table", Typeflag: tar.TypeReg, Mode: 0o4640, Size: 5},
	}, more...) {
		h.Uid, h.Gid = os.Geteuid(), os.Getegid()
		if os.Geteuid() == 0 && i == 0 {
			h.Uid, h.Gid = 4711, 4712 // of all: what a program adds has numbers of its own
		}
		NewWithT(t).Expect(w.WriteHeader(h)).To(Succeed())
		_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	}
	NewWithT(t).Expect(w.Close()).To(Succeed())
	return out.Bytes()
}

// unpacks restores into the directory data of the volume dump.
func (p *pod) unpacks(id string, flags mover.Flags, change func(*task.Task)) *task.Result {
	p.t.Helper()
	in := restoreTask(id)
	in.Components = []task.Component{{Name: "dump", ID: id}}
	in.Restore = &task.Restore{}
	if change != nil {
		change(&in)
	}
	g := NewWithT(p.t)
	g.Expect(os.MkdirAll(p.in("."), 0o755)).To(Succeed())
	text, err := task.Encode(in)
	g.Expect(err).NotTo(HaveOccurred())
	p.write("cairn/task/task.json", text)
	if flags.Unpack == "" {
		flags.Unpack = "data"
	}
	code := p.mover.Run(p.t.Context(), in.Kind, flags)
	message, err := os.ReadFile(p.mover.TerminationPath)
	g.Expect(err).NotTo(HaveOccurred())
	result, err := task.DecodeResult(string(message))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code == 0).To(Equal(result.Outcome == task.OutcomeSucceeded), "%d: %+v", code, result)
	return result
}

// in returns a path in the volume of the component dump.
func (p *pod) in(name string) string { return filepath.Join(p.root, "cairn/volumes/dump", name) }

func confirmed(r task.Restore) func(*task.Task) {
	r.Overwrite = v1alpha1.OverwriteAlways
	return func(t *task.Task) { t.Restore = &r }
}

func TestAnArchiveIsUnpacked(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	id := p.archived("snap-1", append(archive(t), make([]byte, 1<<20)...)) // tar pads
	result := p.unpacks(id, mover.Flags{}, nil)
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(os.ReadFile(p.in("data/base/1/table"))).To(BeEquivalentTo("xxxxx"))
	for name, mode := range map[string]os.FileMode{
		"data": 0o700, "data/base": 0o750, "data/base/1": 0o700,
		"data/label": 0o600, "data/base/1/table": 0o640,
	} {
		stat, err := os.Stat(p.in(name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(stat.Mode()&^os.ModeDir).To(Equal(mode), "%s: nothing is lost, and no set-id bit comes back", name)
		if os.Geteuid() == 0 {
			g.Expect(ownerOf(stat)).To(Equal([2]uint32{4711, 4712}), name)
		}
	}
	c := result.Components[0]
	g.Expect([]int64{c.Files, c.OwnersNotRestored, c.Restored().SizeBytes}).
		To(Equal([]int64{2, 0, int64(len(archive(t)) + 1<<20)}))
	g.Expect(c.TargetWritten).To(BeTrue())
	told := p.reports.restores["dump"]
	g.Expect(told[0].TargetWritten).
		To(BeTrue(), "it is reported before the first byte, so that another attempt knows whose data it finds")

	if os.Geteuid() == 0 {
		p.mover.Privileged = false
		g.Expect(os.RemoveAll(p.in("data"))).To(Succeed())
		g.Expect(p.unpacks(id, mover.Flags{}, nil).Components[0].OwnersNotRestored).
			To(BeEquivalentTo(5), "the directory and what is in it")
	}
}

// Files of two databases in one directory are no database.
func TestADirectoryWithDataIsReplacedAsAWholeOrNotAtAll(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	id, other := p.archived("snap-1", archive(t)), p.archived("snap-2", []byte("SELECT 1;\n"))
	kept := func(result *task.Result, reason, message string) {
		t.Helper()
		g.Expect(result.Reason).To(Equal(reason), result.Message)
		g.Expect(result.Message).To(ContainSubstring(message))
		g.Expect(os.ReadFile(p.in("data/old"))).To(BeEquivalentTo("precious"))
		g.Expect(p.in("data/base")).NotTo(BeADirectory())
	}
	p.write("cairn/volumes/dump/data/old", "precious")
	p.write("cairn/volumes/dump/beside", "something else")
	kept(p.unpacks(id, mover.Flags{}, nil), v1alpha1.ReasonVolumeNotEmpty, "the volume is not empty")
	kept(p.unpacks(id, mover.Flags{}, confirmed(task.Restore{})), v1alpha1.ReasonVolumeNotEmpty,
		"directory /data of the volume is not empty")
	everything := confirmed(task.Restore{DeleteExtra: true})
	kept(p.unpacks(other, mover.Flags{}, everything), v1alpha1.ReasonLoadFailed, "it is no tar archive")

	g.Expect(p.unpacks(id, mover.Flags{}, everything).Reason).To(Equal(v1alpha1.ReasonSucceeded))
	g.Expect(p.in("data/old")).NotTo(BeAnExistingFile())
	g.Expect(p.in("data/base/1/table")).To(BeARegularFile())
	g.Expect(p.in("beside")).To(BeARegularFile(), "files beside the directory stay")

	// Another directory of a volume with data needs only the confirmation. A second attempt continues in the same
	// directory.
	result := p.unpacks(id, mover.Flags{Unpack: "new/data"}, confirmed(task.Restore{}))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(result.Components[0].TargetWritten).To(BeTrue())
	p.write("cairn/volumes/dump/new/data/half", "of an attempt before")
	result = p.unpacks(id, mover.Flags{Unpack: "new/data"}, func(t *task.Task) { t.Components[0].Resume = true })
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(p.in("new/data/half")).NotTo(BeAnExistingFile())
}

func TestWhatIsNoWholeArchiveIsNeverRestored(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	whole := archive(t, &tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o600, Size: 512})
	end := len(whole) - 1024
	for name, tc := range map[string]struct {
		content []byte
		says    string
	}{
		"no end":              {whole[:end], "the archive is cut off"},
		"half of the end":     {whole[:end+512], "the archive is cut off"},
		"a file is cut off":   {whole[:end-100], "the archive is cut off"},
		"between two files":   {whole[:1024], "the archive is cut off"},
		"a header breaks off": {whole[:1100], "it is damaged"},
		"text":                {[]byte(strings.Repeat("SELECT 1;\n", 1000)), "it is no tar archive"},
		"only an end":         {make([]byte, 10240), "it is empty"},
		"a link": {
			archive(t, &tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc"}),
			"neither a file nor a directory",
		},
		"a hard link": {
			archive(t, &tar.Header{Name: "link", Typeflag: tar.TypeLink, Linkname: "../secret"}),
			"neither a file nor a directory",
		},
		"a name that leads up": {
			archive(t, &tar.Header{Name: "base/../../up", Typeflag: tar.TypeReg}),
			"leads out of the directory",
		},
		"a name from the root": {
			archive(t, &tar.Header{Name: "/up", Typeflag: tar.TypeReg}), "leads out of the directory",
		},
	} {
		result := p.unpacks(p.archived("snap-"+strings.ReplaceAll(name, " ", "-"), tc.content), mover.Flags{}, nil)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonLoadFailed), name)
		g.Expect(result.Message).To(ContainSubstring(tc.says), name)
		g.Expect(result.Message).NotTo(ContainSubstring("link"), name)
		g.Expect(p.in("up")).NotTo(BeAnExistingFile(), name)
		g.Expect(os.RemoveAll(p.in("data"))).To(Succeed())
	}

	// A component that is no stream, and flags that don't suit an archive.
	p.write("cairn/volumes/pvc/file", "content")
	code, backup := p.run(t.Context(), backupTask("snap-volume"))
	g.Expect(code).To(BeZero(), backup.Message)
	g.Expect(p.unpacks(backup.Components[0].ID, mover.Flags{}, nil).Message).
		To(ContainSubstring("not a snapshot of a stream"))
}

func TestWhatCannotBeDoneToAnArchive(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	id := p.archived("snap-1", archive(t))
	for _, tc := range []struct {
		flags  mover.Flags
		change func(*task.Task)
		says   string
	}{
		{mover.Flags{Unpack: "."}, nil, "a directory inside the volume"},
		{mover.Flags{Unpack: "a/../.."}, nil, "a directory inside the volume"},
		{mover.Flags{Unpack: "/data"}, nil, "a directory inside the volume"},
		{mover.Flags{Include: []string{"base"}}, nil, "as a whole"},
		{mover.Flags{}, func(t *task.Task) { t.Restore.Verify = true }, "can't be verified"},
		{mover.Flags{}, func(t *task.Task) { t.Restore.Overwrite = v1alpha1.OverwriteIfNewer }, "overwritePolicy"},
	} {
		result := p.unpacks(id, tc.flags, tc.change)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonInvalidTask), tc.says)
		g.Expect(result.Message).To(ContainSubstring(tc.says))
	}
	g.Expect(os.ReadDir(p.in("."))).To(BeEmpty())
}

// psql reads text. A short part of it is passed on like any other.
func TestStatementsThatAreShortArePassedOn(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	for snapshot, text := range map[string]string{
		"snap-1": "SELECT 1;\n", "snap-2": strings.Repeat("SELECT 1;\n", 1000),
	} {
		out := filepath.Join(t.TempDir(), "out")
		c := dumpOf("cat >" + out)
		c.Stream.Filter = v1alpha1.StreamFilterPostgresRoles
		result := p.restoreInto(p.archived(snapshot, []byte(text)), c)
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
		g.Expect(os.ReadFile(out)).To(BeEquivalentTo(text))
	}
}

// by lets a program unpack into the volume, and another one finish its work.
func by(lines, finish string, more ...func(*task.Task)) func(*task.Task) {
	return func(t *task.Task) {
		t.Components[0].Stream = dumpOf(lines).Stream
		if finish != "" {
			t.Components[0].Stream.Finish = &v1alpha1.ResolvedProgram{
				Command: []string{"/bin/sh", "-c", finish, "sh"},
				Args:    []v1alpha1.ResolvedStreamArgument{{Value: "an argument"}, {Value: "no", IfKey: "absent"}},
			}
		}
		for _, change := range more {
			change(t)
		}
	}
}

func TestAProgramUnpacks(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	p.isolated()
	id := p.archived("snap-1", []byte("what was kept"))
	read := func(name string) string { return string(must(os.ReadFile(p.in(name)))) }

	result := p.unpacks(id, mover.Flags{},
		by("cat >kept; mkdir sub; echo sub >sub/file", `test "$#" = 1; mv kept "$1"; test -d "$HOME"`))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(read("data/an argument")).To(Equal("what was kept"))
	g.Expect(result.Components[0]).
		To(And(HaveField("Files", int64(2)), HaveField("SizeBytes", int64(13)), HaveField("Path", "data"),
			HaveField("TargetWritten", true)))
	g.Expect(p.reports.restores["dump"][0].TargetWritten).
		To(BeTrue(), "a later attempt is allowed to overwrite what this one left")

	// A directory with content is not touched, unless the user confirmed it or an earlier attempt wrote the content.
	for name, change := range map[string]func(*task.Task){
		"the volume":    nil,
		"the directory": confirmed(task.Restore{}),
	} {
		result = p.unpacks(id, mover.Flags{}, by("cat >other", "", func(t *task.Task) {
			if change != nil {
				change(t)
			}
		}))
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonVolumeNotEmpty), name)
		g.Expect(result.Message).To(ContainSubstring("not empty"))
		g.Expect(p.in("data/other")).NotTo(BeAnExistingFile(), name)
		g.Expect(p.in("data/an argument")).To(BeAnExistingFile(), name)
	}
	g.Expect(os.Mkdir(p.in("data/lost+found"), 0o700)).To(Succeed())
	for name, change := range map[string]func(*task.Task){
		"confirmed": confirmed(task.Restore{DeleteExtra: true}),
		"resumed":   func(t *task.Task) { t.Components[0].Resume = true },
	} {
		p.write("cairn/volumes/dump/data/old", "content")
		result = p.unpacks(id, mover.Flags{}, by("test ! -e old && cat >other", "", change))
		g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), "%s: %s", name, result.Message)
		g.Expect(read("data/other")).To(Equal("what was kept"), name)
		g.Expect(p.in("data/lost+found")).To(BeADirectory(), name)
	}

	// The volume itself can be the directory.
	result = p.unpacks(id, mover.Flags{Unpack: "."}, by("cat >top", "", confirmed(task.Restore{DeleteExtra: true})))
	g.Expect(result.Reason).To(Equal(v1alpha1.ReasonSucceeded), result.Message)
	g.Expect(os.ReadDir(p.in("."))).To(HaveLen(1))
	g.Expect(result.Components[0].Path).To(BeEmpty())
}

func TestAProgramThatDoesNotUnpack(t *testing.T) {
	g := NewWithT(t)
	p := streaming(t)
	p.isolated()
	id := p.archived("snap-1", bytes.Repeat([]byte("x"), 1<<20))
	for name, tc := range map[string]struct {
		change       func(*task.Task)
		reason, says string
	}{
		"it fails": {
			by("head -c 1000 >part; echo wrong >&2; exit 3", "touch finished"), v1alpha1.ReasonLoadFailed,
			"sh ended with exit code 3: wrong",
		},
		"it stops early": {
			by("head -c 1000 >part", "touch finished"), v1alpha1.ReasonLoadFailed,
			"before it had read everything",
		},
		"the second fails": {
			by("cat >part", "echo 'no log' >&2; exit 4"), v1alpha1.ReasonLoadFailed,
			"sh ended with exit code 4: no log",
		},
		"the second is none": {by("cat >part", "", func(t *task.Task) {
			t.Components[0].Stream.Finish = &v1alpha1.ResolvedProgram{Command: []string{"absent"}}
		}), v1alpha1.ReasonLoadFailed, "the image has no program absent"},
		"it makes nothing": {by("cat >/dev/null", ""), v1alpha1.ReasonLoadFailed, "made no file"},
		"it is none": {
			by("", "", func(t *task.Task) { t.Components[0].Stream.Command = []string{"absent"} }),
			v1alpha1.ReasonLoadFailed, "the image has no program absent",
		},
		"nothing can be read": {by("touch part", "", func(t *task.Task) { t.Components[0].ID = "absent" }), "", ""},
	} {
		p.write("cairn/volumes/dump/data/old", "content")
		result := p.unpacks(id, mover.Flags{}, func(t *task.Task) {
			tc.change(t)
			confirmed(task.Restore{DeleteExtra: true})(t)
		})
		g.Expect(result.Outcome).To(Equal(task.OutcomeFailed), name)
		if tc.reason == "" {
			g.Expect(p.in("data/old")).To(BeAnExistingFile(), "%s: nothing was removed for nothing", name)
			continue
		}
		g.Expect(result.Reason).To(Equal(tc.reason), name)
		g.Expect(result.Message).To(ContainSubstring(tc.says), name)
		g.Expect(p.in("data/finished")).NotTo(BeAnExistingFile(), name)
	}
}
