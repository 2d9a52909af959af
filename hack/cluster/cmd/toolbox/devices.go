package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// fill leaves nothing of what was there: a device that is only half restored
// has another sum.
func fill(_ context.Context, args []string) error {
	f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = io.CopyN(f, rand.NewChaCha8(sha256.Sum256([]byte(args[1]))), size)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Println("filled", size, "bytes of", args[0])
	return err
}

func sum(_ context.Context, args []string) error {
	for _, p := range args {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if _, err := fmt.Printf("%x %d %s\n", h.Sum(nil), n, p); err != nil {
			return err
		}
	}
	return nil
}
