/* Counts: how often each key has come.
 *
 * A map task counts hundreds of thousands of different keys, more than the processor's caches hold. A dict then has the
 * processor wait for memory three times for nearly every key: for its index, its entry, and the key that stands there.
 * So `Counts` is a hash table that looks up a batch of keys together, and first has the memory fetched that it will
 * read for all of them (Chen, Ailamaki, Gibbons, Mowry: Improving Hash Join Performance through Prefetching, ICDE 2004).
 *
 * All its keys are of one type, str, bytes or int itself: to hash and to compare them calls no code of anybody's, so
 * nothing changes a table while it is at work.
 */

#include "loops.h"
#include "table.h"

/* keys that are looked up together; with 8 or 64 it was slower */
#define BATCH 32

typedef struct {
    PyObject *key;
    uint64_t times;
} Entry;

typedef struct {
    PyObject_HEAD
    Table table;
    Entry *entries; /* room for half as many as there are slots */
    size_t used;
} Counts;

/* Numbers that follow each other, multiples of one, and what else is regular, are spread over all slots (Appleby,
 * MurmurHash3: the end of its 64 bits). */
static uint32_t
spread(Py_hash_t hash)
{
    uint64_t mixed = (uint64_t)hash;
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
    mixed = (mixed ^ mixed >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
    return (uint32_t)(mixed >> (64 - HASH_BITS));
}

/* For the tests. */
PyObject *
spread_of(PyObject *Py_UNUSED(module), PyObject *key)
{
    Py_hash_t hash = PyObject_Hash(key);
    return hash == -1 ? NULL : PyLong_FromUnsignedLong(spread(hash));
}

/* The key has come once more. */
static int
count_one(Counts *self, PyObject *key, uint32_t hash)
{
    Table *table = &self->table;
    if (self->used == table->size / 2) {
        Entry *entries = grow(table, self->entries, sizeof(Entry));
        if (entries == NULL)
            return -1;
        self->entries = entries;
    }
    size_t at = first_slot(table, hash);
    for (; table->slots[at].entry; at = next_slot(table, at)) {
        if (table->slots[at].hash != hash)
            continue;
        Entry *entry = &self->entries[table->slots[at].entry - 1];
        int same = entry->key == key ? 1 : PyObject_RichCompareBool(entry->key, key, Py_EQ);
        if (same < 0)
            return -1;
        if (same) {
            entry->times++;
            return 0;
        }
    }
    Entry *entry = &self->entries[self->used++];
    Py_INCREF(key);
    entry->key = key;
    entry->times = 1;
    table->slots[at] = (Slot){hash, (uint32_t)self->used};
    return 0;
}

typedef struct {
    PyObject *keys[BATCH];
    uint32_t hashes[BATCH];
    int length;
} Batch;

/* Count the keys of a batch, and empty it, also where that fails. */
static int
count_batch(Counts *self, Batch *batch)
{
    const Table *table = &self->table;
    for (int i = 0; i < batch->length && table->size; i++) {
        const Slot *slot = &table->slots[first_slot(table, batch->hashes[i])];
        if (slot->entry)
            FETCH(&self->entries[slot->entry - 1]);
    }
    for (int i = 0; i < batch->length && table->size; i++) {
        const Slot *slot = &table->slots[first_slot(table, batch->hashes[i])];
        if (slot->entry && slot->hash == batch->hashes[i])
            fetch_text(self->entries[slot->entry - 1].key);
    }
    int status = 0;
    for (int i = 0; i < batch->length; i++) {
        if (status == 0)
            status = count_one(self, batch->keys[i], batch->hashes[i]);
        Py_DECREF(batch->keys[i]);
    }
    batch->length = 0;
    return status;
}

/* 1 if the pair is (key of that type, value like that), 0 if not, -1 if that cannot be found out. */
static int
is_alike(PyObject *pair, PyObject *value, PyObject *kind)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_Size(pair) != 2 ||
        (PyObject *)Py_TYPE(PyTuple_GetItem(pair, 0)) != kind)
        return 0;
    PyObject *its = PyTuple_GetItem(pair, 1);
    if (its == value)
        return 1;
    return Py_TYPE(its) == Py_TYPE(value) ? PyObject_RichCompareBool(its, value, Py_EQ) : 0;
}

/* [pair, *pairs] */
static PyObject *
all_left(PyObject *pair, PyObject *pairs)
{
    PyObject *left = PyList_New(0);
    if (left != NULL && (PyList_Append(left, pair) < 0 || PyList_SetSlice(left, 1, 1, pairs) < 0))
        Py_CLEAR(left);
    return left;
}

static PyObject *
Counts_count(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    PyObject *pairs, *value, *kind;
    if (!PyArg_ParseTuple(args, "OOO:count", &pairs, &value, &kind))
        return NULL;
    if (kind != (PyObject *)&PyUnicode_Type && kind != (PyObject *)&PyBytes_Type && kind != (PyObject *)&PyLong_Type) {
        PyErr_SetString(PyExc_TypeError, "only keys that are str, bytes or int are counted here");
        return NULL;
    }
    if (!PyIter_Check(pairs)) {
        PyErr_SetString(PyExc_TypeError, "pairs are to come from an iterator");
        return NULL;
    }
    PyObject *left = NULL, *pair;
    Batch batch = {.length = 0};
    int any = 0, fits = 1;
    while (fits > 0 && (pair = PyIter_Next(pairs)) != NULL) {
        any = 1;
        fits = is_alike(pair, value, kind);
        if (fits > 0) {
            PyObject *key = PyTuple_GetItem(pair, 0);
            Py_hash_t hash = PyObject_Hash(key);
            Py_INCREF(key);
            batch.keys[batch.length] = key;
            batch.hashes[batch.length] = spread(hash);
            if (self->table.size)
                FETCH(&self->table.slots[first_slot(&self->table, batch.hashes[batch.length])]);
            if (++batch.length == BATCH && count_batch(self, &batch) < 0)
                fits = -1;
        } else if (fits == 0)
            left = all_left(pair, pairs);
        /* at once: the next one is made in the same memory, which is in the first cache */
        Py_DECREF(pair);
    }
    if (PyErr_Occurred()) {
        while (batch.length > 0)
            Py_DECREF(batch.keys[--batch.length]);
        Py_XDECREF(left);
        return NULL;
    }
    if (count_batch(self, &batch) < 0) {
        Py_XDECREF(left);
        return NULL;
    }
    if (!any)
        Py_RETURN_NONE;
    return left != NULL ? left : PyList_New(0);
}

static PyObject *
Counts_keys(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    Py_ssize_t start;
    if (!PyArg_ParseTuple(args, "n:keys", &start))
        return NULL;
    if (start < 0 || (size_t)start > self->used)
        start = (Py_ssize_t)self->used;
    PyObject *keys = PyList_New((Py_ssize_t)self->used - start);
    if (keys == NULL)
        return NULL;
    for (size_t i = (size_t)start; i < self->used; i++) {
        Py_INCREF(self->entries[i].key);
        PyList_SetItem(keys, (Py_ssize_t)i - start, self->entries[i].key);
    }
    return keys;
}

static void
clear(Counts *self)
{
    for (size_t i = 0; i < self->used; i++)
        Py_XDECREF(self->entries[i].key);
    PyMem_Free(self->table.slots);
    PyMem_Free(self->entries);
    self->table = (Table){NULL, 0, 0};
    self->entries = NULL;
    self->used = 0;
}

static int
set_times(PyObject *counts, const Entry *entry)
{
    PyObject *times = PyLong_FromUnsignedLongLong(entry->times);
    if (times == NULL)
        return -1;
    int status = PyDict_SetItem(counts, entry->key, times);
    Py_DECREF(times);
    return status;
}

static PyObject *
Counts_drain(PyObject *object, PyObject *args)
{
    Counts *self = (Counts *)object;
    unsigned char most;
    if (!PyArg_ParseTuple(args, "b:drain", &most))
        return NULL;
    Py_ssize_t few = 0;
    for (size_t i = 0; i < self->used; i++)
        few += self->entries[i].times <= most;
    PyObject *keys = PyList_New(few), *times = PyBytes_FromStringAndSize(NULL, few), *many = PyDict_New();
    if (keys == NULL || times == NULL || many == NULL)
        goto failed;
    char *next = PyBytes_AsString(times);
    few = 0;
    for (size_t i = 0; i < self->used; i++) {
        Entry *entry = &self->entries[i];
        if (entry->times <= most) {
            next[few] = (char)entry->times;
            PyList_SetItem(keys, few++, entry->key); /* which is the list's now */
            entry->key = NULL;
        } else if (set_times(many, entry) < 0)
            goto failed;
    }
    clear(self);
    return Py_BuildValue("NNN", keys, times, many);
failed:
    clear(self);
    Py_XDECREF(keys);
    Py_XDECREF(times);
    Py_XDECREF(many);
    return NULL;
}

static Py_ssize_t
Counts_length(PyObject *self)
{
    return (Py_ssize_t)((Counts *)self)->used;
}

static void
Counts_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    clear((Counts *)self);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef Counts_methods[] = {
    {"count", Counts_count, METH_VARARGS, NULL},
    {"keys", Counts_keys, METH_VARARGS, NULL},
    {"drain", Counts_drain, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Counts_slots[] = {
    {Py_tp_methods, Counts_methods},
    {Py_tp_dealloc, Counts_dealloc},
    {Py_sq_length, Counts_length},
    {0, NULL},
};

PyType_Spec Counts_spec = {
    .name = "mapreduce._loops.Counts",
    .basicsize = sizeof(Counts),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Counts_slots,
};
