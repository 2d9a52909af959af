package program

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestARequestStaysInItsPlaces(t *testing.T) {
	good := request{
		Args: []string{"sh"}, Dir: "/data", FilesDir: "/tmp/stream", Files: []File{{Name: "my.cnf"}}, Source: "/data",
	}
	NewWithT(t).Expect(good.check()).To(Succeed())
	for name, change := range map[string]func(r *request){
		"no program":                  func(r *request) { r.Args = nil },
		"an empty program":            func(r *request) { r.Args = []string{""} },
		"a relative directory":        func(r *request) { r.Dir = "data" },
		"a relative source":           func(r *request) { r.Source = "../data" },
		"a relative place for files":  func(r *request) { r.FilesDir = "tmp" },
		"the root for files":          func(r *request) { r.FilesDir = "/tmp/.." },
		"files and no place for them": func(r *request) { r.FilesDir = "" },
		"a file outside":              func(r *request) { r.Files = []File{{Name: "../x"}} },
		"a file of a directory":       func(r *request) { r.Files = []File{{Name: "a/b"}} },
		"an absolute file":            func(r *request) { r.Files = []File{{Name: "/x"}} },
		"a file without a name":       func(r *request) { r.Files = []File{{}} },
		"five open files":             func(r *request) { r.Stdio = make([]string, 5) },
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			change(&r)
			NewWithT(t).Expect(r.check()).NotTo(Succeed())
		})
	}
}

func TestAFrameIsBounded(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	long := answer{State: strings.Repeat("x", maxAnswer)}
	g.Expect(writeFrame(&out, maxAnswer, long)).To(MatchError(ContainSubstring("more than 4096")))
	g.Expect(out.Len()).To(BeZero())
	g.Expect(writeFrame(&out, maxAnswer, answer{State: stateEnded})).To(Succeed())
	g.Expect(readAnswer(&out, stateStarted, stateEnded)).To(Equal(answer{State: stateEnded}))
	// The length is no reason to take memory.
	large := append(binary.BigEndian.AppendUint32(nil, maxRequest), "{"...)
	allocated := testing.AllocsPerRun(1, func() { _, _ = readRequest(bytes.NewReader(large)) })
	g.Expect(allocated).To(BeNumerically("<", 30))
}

// FuzzAnswers plays a server that says anything. Only a conversation in order ends well.
func FuzzAnswers(f *testing.F) {
	frame := func(text string) string {
		return string(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	}
	for _, seed := range []string{
		frame(`{"state":"started"}`) + frame(`{"state":"ended"}`) + frame(`{"state":"exited"}`),
		frame(`{"state":"refused","refused":{"fault":"file","file":1}}`),
		frame(`{"state":"exited","code":3,"signal":9}`), frame(`{}`), "\xff\xff\xff\xff", "",
	} {
		f.Add([]byte(seed))
	}
	spec := Spec{Args: []string{"/bin/sh"}, Files: []File{{Name: "my.cnf"}}}
	f.Fuzz(func(t *testing.T, said []byte) {
		from := bytes.NewReader(said)
		a, err := readAnswer(from, stateStarted, stateRefused)
		if err != nil {
			return
		}
		if a.State == stateRefused {
			if message := a.Refused.error(spec).Error(); len(message) > 200 {
				t.Errorf("the message has %d bytes", len(message))
			}
			return
		}
		if a != (answer{State: stateStarted}) {
			t.Errorf("%+v counts as started", a)
		}
		if a, err = readAnswer(from, stateEnded); err == nil && a != (answer{State: stateEnded}) {
			t.Errorf("%+v counts as ended", a)
		}
		if err != nil {
			return
		}
		if a, err = readAnswer(from, stateExited); err == nil && (a.Signal > maxSignal || a.Refused != nil) {
			t.Errorf("%+v counts as exited", a)
		}
	})
}

// FuzzRequest plays a client that says anything: whatever a server takes stays in its places.
func FuzzRequest(f *testing.F) {
	for _, r := range []request{
		{Args: []string{"sh"}, FilesDir: "/tmp/stream", Files: []File{{Name: "my.cnf", Content: []byte("x")}}},
		{Args: []string{"sh"}, Dir: "/..", Stdio: []string{"in", "out"}},
		{},
	} {
		b, _ := json.Marshal(r)
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		r, err := readRequest(bytes.NewReader(said))
		if err != nil {
			return
		}
		for _, file := range r.Files {
			if strings.ContainsAny(file.Name, "/") || file.Name == ".." || file.Name == "" {
				t.Errorf("it would write %q", file.Name)
			}
		}
		if len(r.Args) == 0 || len(r.Stdio) > maxFiles {
			t.Errorf("it would run %+v", r)
		}
	})
}
