package content

import "fmt"

// TypeNames are the names of all types that have one.
func TypeNames() map[string]string {
	m := map[string]string{}
	for id, name := range gptTypes {
		m[id] = name
	}
	for id, name := range mbrTypes {
		m[fmt.Sprintf("0x%02x", id)] = name
	}
	return m
}
