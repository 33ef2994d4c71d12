/* How a hash table gets more slots. */

#include "table.h"

/* a power of two; at most half of the slots are taken */
#define FIRST_SLOTS 64

void *
grow(Table *table, void *entries, size_t entry_size)
{
    size_t size = table->size ? 2 * table->size : FIRST_SLOTS;
    int shift = table->size ? table->shift - 1 : HASH_BITS - 6;
    if (shift < 1) {
        PyErr_SetString(PyExc_OverflowError, "too many keys to be counted");
        return NULL;
    }
    Table larger = {PyMem_Calloc(size, sizeof(Slot)), size, shift};
    void *more = larger.slots != NULL ? PyMem_Realloc(entries, size / 2 * entry_size) : NULL;
    if (more == NULL) {
        PyMem_Free(larger.slots);
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < table->size; i++) {
        Slot slot = table->slots[i];
        if (slot.entry) {
            size_t at = first_slot(&larger, slot.hash);
            while (larger.slots[at].entry)
                at = next_slot(&larger, at);
            larger.slots[at] = slot;
        }
    }
    PyMem_Free(table->slots);
    *table = larger;
    return more;
}
