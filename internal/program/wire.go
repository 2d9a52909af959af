package program

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// A connection runs one program. The client sends the preamble, the length of the request in four bytes and the request
// as JSON. The open files of the program come with the first byte, in the order of request.Stdio. Then it sends
// commands of one byte. The server answers with frames, a length in four bytes and an answer as JSON: started or
// refused; ended when the program itself is over; and after commandOver, exited. A connection that ends without exited
// says nothing about the end of the program. A request to look is answered with found or refused, and no command
// follows.
const preamble = "cairn program 1\n"

// Bounds of what one side takes from the other.
const (
	maxRequest = 8 << 20
	maxAnswer  = 4 << 10
	maxFiles   = 4
)

// The commands of a client.
const (
	commandTerminate = 't' // ask the program, and all that it started, to stop
	commandKill      = 'k' // kill them
	commandEndInput  = 'e' // let the program see the end of its input
	commandOver      = 'o' // kill what the program left behind, and say how it ended
)

// request says what a Server runs.
type request struct {
	Args     []string `json:"args"`
	Env      []string `json:"env,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Files    []File   `json:"files,omitempty"`
	FilesDir string   `json:"filesDir,omitempty"`
	Source   string   `json:"source,omitempty"`
	// Stdio names the files that come with the request.
	Stdio []string `json:"stdio,omitempty"`
	// Look asks only whether the program could be started.
	Look bool `json:"look,omitempty"`
}

// The kinds of files in request.Stdio.
const (
	stdioIn   = "in"
	stdioHold = "hold"
	stdioOut  = "out"
	stdioErr  = "err"
)

// check reports what no client asks for.
func (r request) check() error {
	switch {
	case len(r.Args) == 0 || r.Args[0] == "":
		return errors.New("no program to run")
	case len(r.Stdio) > maxFiles:
		return errors.New("too many files")
	case r.Look && len(r.Stdio)+len(r.Files) > 0:
		return errors.New("files for a program that is not started")
	case len(r.Files) > 0 && r.FilesDir == "":
		return errors.New("files without a directory")
	}
	for _, dir := range []string{r.Dir, r.FilesDir, r.Source} {
		if dir != "" && !filepath.IsAbs(dir) {
			return errors.New("a directory that is not absolute")
		}
	}
	if filepath.Clean("/"+r.FilesDir) == "/" && r.FilesDir != "" {
		return errors.New("the root as the directory of files")
	}
	for _, f := range r.Files {
		if !filepath.IsLocal(f.Name) || strings.ContainsRune(f.Name, '/') {
			return errors.New("a file outside of its directory")
		}
	}
	return nil
}

// readRequest reads what follows the preamble.
func readRequest(from io.Reader) (request, error) {
	var r request
	if err := readFrame(from, maxRequest, &r); err != nil {
		return request{}, err
	}
	return r, r.check()
}

// The states of an answer.
const (
	stateFound   = "found"
	stateStarted = "started"
	stateRefused = "refused"
	stateEnded   = "ended"
	stateExited  = "exited"
)

// answer is what a Server says about a program.
type answer struct {
	State string `json:"state"`
	// Refused is set with stateRefused.
	Refused *refusal `json:"refused,omitempty"`
	// Code and Signal of stateExited.
	Code   uint8 `json:"code,omitempty"`
	Signal uint8 `json:"signal,omitempty"`
	// Lost says, with stateExited, that the Server does not know how the program ended.
	Lost bool `json:"lost,omitempty"`
}

// maxSignal is the last signal of Linux.
const maxSignal = 64

// readAnswer reads the next answer, which must be one of the states.
func readAnswer(from io.Reader, states ...string) (answer, error) {
	var a answer
	if err := readFrame(from, maxAnswer, &a); err != nil {
		return answer{}, err
	}
	for _, state := range states {
		if a.State != state {
			continue
		}
		if (a.Refused != nil) != (state == stateRefused) || a.Signal > maxSignal ||
			state != stateExited && (a.Code != 0 || a.Signal != 0 || a.Lost) {
			return answer{}, errors.New("an answer that contradicts itself")
		}
		return a, nil
	}
	return answer{}, errors.New("an answer out of turn")
}

// writeFrame writes a length and a value as JSON.
func writeFrame(to io.Writer, limit int, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(b) > limit {
		return fmt.Errorf("a message of %d bytes, more than %d", len(b), limit)
	}
	if _, err = to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// readFrame reads a length and a value as JSON. It takes no memory for more than the limit, nor before the bytes came.
func readFrame(from io.Reader, limit int64, value any) error {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return fmt.Errorf("receive message: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > limit {
		return fmt.Errorf("a message of %d bytes, more than %d", n, limit)
	}
	var text bytes.Buffer
	if got, err := io.CopyN(&text, from, n); err != nil {
		return fmt.Errorf("receive message: %d of %d bytes: %w", got, n, err)
	}
	d := json.NewDecoder(&text)
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return errors.New("a message that is no JSON of this version")
	}
	if d.More() {
		return errors.New("a message with more than one value")
	}
	return nil
}
