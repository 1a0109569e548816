package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type volume struct {
	ID, Name, Claim          string // Claim is NAMESPACE/NAME, where the provisioner told
	Image                    string
	Size                     int64
	FromSnapshot, FromVolume string
	Device, Staging, FS      string // while staged: loop device; mount point and its filesystem
	Published                map[string]bool
}

type snapshot struct {
	ID, Name, Claim, Volume string
	Image                   string
	Size                    int64
	Created                 time.Time
}

// store remembers volumes and snapshots over restarts. What it gives out are copies.
type store struct {
	file string

	mu        sync.Mutex
	Volumes   map[string]volume
	Snapshots map[string]snapshot
	Next      int // number of the next id
}

func openStore(file string) (*store, error) {
	s := &store{file: file, Volumes: map[string]volume{}, Snapshots: map[string]snapshot{}, Next: 1}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, os.MkdirAll(filepath.Dir(file), 0o750)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// save is called with mu held.
func (s *store) save() error {
	b, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = os.WriteFile(s.file+".part", b, 0o600)
	}
	if err == nil {
		err = os.Rename(s.file+".part", s.file)
	}
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func (s *store) id(kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Next++
	return fmt.Sprintf("%s-%06d", kind, s.Next-1)
}

func (s *store) volume(id string) (volume, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.Volumes[id]
	return v, ok
}

func (s *store) snapshot(id string) (snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.Snapshots[id]
	return v, ok
}

func (s *store) volumes() []volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]volume, 0, len(s.Volumes))
	for _, v := range s.Volumes {
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all
}

func (s *store) snapshots() []snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]snapshot, 0, len(s.Snapshots))
	for _, v := range s.Snapshots {
		all = append(all, v)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ID < all[j].ID })
	return all
}

func (s *store) putVolume(v volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Volumes[v.ID] = v
	return s.save()
}

func (s *store) putSnapshot(v snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Snapshots[v.ID] = v
	return s.save()
}

func (s *store) remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.Volumes, id)
	delete(s.Snapshots, id)
	return s.save()
}

// locks holds one mutex for each name, so that a slow copy of one volume does not hold up the others.
type locks struct {
	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	sync.Mutex
	users int
}

// lock returns what gives the lock back. Whoever takes two takes the name of the new volume first.
func (l *locks) lock(name string) func() {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*held{}
	}
	h := l.held[name]
	if h == nil {
		h = &held{}
		l.held[name] = h
	}
	h.users++
	l.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(l.held, name)
		}
	}
}
