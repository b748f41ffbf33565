"""The least that an app needs: python classify.py EXPORT IMAGE."""

import sys

import zoo

prediction = zoo.load(sys.argv[1]).predict(sys.argv[2])
print(f"{prediction.label}  {prediction.probability:.1%}")
