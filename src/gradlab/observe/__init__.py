"""What is measured: observables, networks to second order, spectra. (With it, problems that are made make room.)"""

from gradlab.executing.maps import room
from gradlab.problem.guard import MET

MET.add(room)
